package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

//go:embed templates assets
var files embed.FS

// screen is one kind of page.
type screen struct {
	file string // of its template
	// regions are the parts that a stream keeps up to date: the element with that id shows the template "region-" and the id.
	regions []string
	read    func(*http.Request) (frame, error)
}

// frame is what a page shows, with what surrounds it.
type frame struct {
	Title    string
	Section  string // of the navigation
	Job, Tab string // of a page about a job
	Command  string // that says the same
	Told     string // what the request before this one has done
	Page     any

	rights
	Live     bool // a stream keeps it up to date
	Version  string
	User     string
	Sections []link
	Tabs     []link
}

// rights are embedded in what a region shows.
type rights struct{ ReadOnly bool }

// link leads to another page.
type link struct {
	Name, Path string
	Current    bool
}

// renderer turns frames into HTML. Safe for concurrent use.
type renderer struct {
	prefix string
	pages  map[string]*template.Template // by file
	assets map[string]asset              // by name
}

// asset is a file as it is served; its version is a part of its address, so it may be cached for ever.
type asset struct {
	kind, version string
	body          []byte
}

func newRenderer(prefix string) (*renderer, error) {
	v := &renderer{prefix: prefix, pages: map[string]*template.Template{}, assets: map[string]asset{}}
	if err := v.readAssets(); err != nil {
		return nil, err
	}
	common, err := template.New("layout.html").Funcs(v.functions()).ParseFS(files, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if base := path.Base(name); base != "layout.html" && base != "parts.html" {
			page := template.Must(common.Clone())
			if v.pages[base], err = page.ParseFS(files, name); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func (v *renderer) readAssets() error {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	return fs.WalkDir(files, "assets", func(name string, entry fs.DirEntry, err error) error {
		kind, served := kinds[path.Ext(name)]
		if err != nil || entry.IsDir() || !served {
			return err
		}
		body, err := files.ReadFile(name)
		sum := sha256.Sum256(body)
		v.assets[path.Base(name)] = asset{kind, hex.EncodeToString(sum[:6]), body}
		return err
	})
}

func (v *renderer) functions() template.FuncMap {
	return template.FuncMap{
		"path":   v.path,
		"asset":  func(name string) string { return v.path("/assets/", v.assets[name].version, "/", name) },
		"icon":   icon,
		"count":  func(n any) string { return count(whole(n)) },
		"plural": func(n any, one, many string) string { return plural(whole(n), one, many) },
	}
}

// whole is a number of a page.
func whole(n any) int64 {
	if small, ok := n.(int); ok {
		return int64(small)
	}
	large, _ := n.(int64)
	return large
}

// path is an address of ours: the prefix, then the parts, of which those that hold no slash are escaped.
func (v *renderer) path(parts ...string) string {
	var b strings.Builder
	b.WriteString(v.prefix)
	for _, part := range parts {
		if !strings.HasPrefix(part, "/") && !strings.HasSuffix(part, "/") {
			part = url.PathEscape(part)
		}
		b.WriteString(part)
	}
	return b.String()
}

// serveAsset answers /assets/{version}/{name}.
func (v *renderer) serveAsset(w http.ResponseWriter, r *http.Request) {
	found, ok := v.assets[r.PathValue("name")]
	if !ok || found.version != r.PathValue("version") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", found.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(found.body))
}

// page renders a whole page.
func (v *renderer) page(file string, f frame) ([]byte, error) {
	var b bytes.Buffer
	err := v.pages[file].Execute(&b, f)
	return b.Bytes(), err
}

// region renders a part of a page.
func (v *renderer) region(file, region string, f frame) ([]byte, error) {
	var b bytes.Buffer
	err := v.pages[file].ExecuteTemplate(&b, "region-"+region, f.Page)
	return b.Bytes(), err
}

// sections are the pages on top of every page.
func (v *renderer) sections(current string) []link {
	list := []link{{"Overview", "/", false}, {"Instances", "/instances", false}, {"Audit", "/audit", false}, {"Settings", "/settings", false}}
	for i := range list {
		list[i].Current, list[i].Path = list[i].Name == current, v.path(list[i].Path)
	}
	return list
}

// tabs are the pages about a job.
func (v *renderer) tabs(job, current string) []link {
	list := []link{{"Workers", "", false}, {"Failed rows", "/failed", false}, {"Passes", "/passes", false}, {"Audit", "/audit", false}}
	for i := range list {
		list[i].Current, list[i].Path = list[i].Name == current, v.path("/jobs/", job)+list[i].Path
	}
	return list
}

// streams says whether a request asks for the stream of a page instead of the page.
func streams(r *http.Request) bool {
	return r.Method == http.MethodGet && slices.Contains(strings.Split(r.Header.Get("Accept"), ","), "text/event-stream")
}
