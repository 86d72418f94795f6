// Package dashboard is what an operator sees in a browser: whether events flow, why not if not, and how to put it right. It
// is plain HTML that works without scripts; with them its live parts are kept up to date by server-sent events.
package dashboard

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/rs/zerolog"

	"modulo/internal/guard"
	"modulo/internal/operations"
	"modulo/store"
)

// Config says what there is to see.
type Config struct {
	// Console is what is seen and done through; nil: the service is starting, or has stopped, and every page says so.
	Console *operations.Console
	Prefix  string // of all addresses, as in "/modulo"; empty: none
	Version string
	Log     zerolog.Logger
}

// Dashboard is an http.Handler. Safe for concurrent use.
type Dashboard struct {
	Config
	render    *renderer
	mux       *http.ServeMux
	streaming streaming
	closing   chan struct{} // closed when streams have to end

	overviews  shared[operations.Overview]
	failures   shared[matches]
	instances  shared[[]operations.Instance]
	passes     shared[[]operations.Pass]
	pastPasses shared[operations.PastPasses]
	audits     shared[operations.Audit]
	entries    shared[operations.AuditEntry]
	rows       shared[operations.Row]
	previews   shared[operations.Preview]
}

// New returns a dashboard.
func New(cfg Config) (*Dashboard, error) {
	render, err := newRenderer(cfg.Prefix)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{Config: cfg, render: render, mux: http.NewServeMux(), closing: make(chan struct{})}
	for pattern, s := range map[string]screen{
		"/{$}":                           {"overview.html", []string{"verdict", "totals", "jobs"}, d.readOverview},
		"/jobs/{job}":                    {"job.html", []string{"verdict", "actions", "change", "numbers", "workers", "past"}, d.readJob},
		"/jobs/{job}/workers":            {"workers.html", nil, d.readPreview},
		"/jobs/{job}/failed":             {"failed.html", []string{"matches", "groups"}, d.readFailed},
		"/jobs/{job}/failed/{repair}":    {"repair.html", nil, d.readRepair},
		"/jobs/{job}/rows/{row}":         {"row.html", []string{"row"}, d.readRow},
		"/jobs/{job}/passes":             {"passes.html", []string{"passes", "past"}, d.readPasses},
		"/jobs/{job}/operations/{entry}": {"operation.html", []string{"operation"}, d.readOperation},
		"/jobs/{job}/audit":              {"audit.html", []string{"audit"}, d.readAudit},
		"/instances":                     {"instances.html", []string{"instances"}, d.readInstances},
		"/audit":                         {"audit.html", []string{"audit"}, d.readAudit},
		"/settings":                      {"settings.html", nil, d.readSettings},
	} {
		d.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { d.show(w, r, s) })
	}
	for pattern, do := range map[string]action{
		"/jobs/{job}/pause":           d.pause,
		"/jobs/{job}/resume":          d.resume,
		"/jobs/{job}/trigger":         d.trigger,
		"/jobs/{job}/workers":         d.changeWorkers,
		"/jobs/{job}/workers/abort":   d.abortChange,
		"/jobs/{job}/failed/{repair}": d.repair,
		"/settings/doctor":            d.examine,
	} {
		d.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) { d.act(w, r, do) })
	}
	d.mux.HandleFunc("GET /assets/{version}/{name}", render.serveAsset)
	d.mux.HandleFunc("GET /robots.txt", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("User-agent: *\nDisallow: /\n"))
	})
	d.mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) { d.problem(w, r, errNotFound) })
	return d, nil
}

// Close ends the streams. Whoever still looks is told that the service has stopped.
func (d *Dashboard) Close() { close(d.closing) }

// ServeHTTP answers requests that the guard has let in, whose path has lost the prefix already.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.Console == nil && !strings.HasPrefix(r.URL.Path, "/assets/") {
		w.Header().Set("Retry-After", "2")
		d.problem(w, r, errClosed)
		return
	}
	if !store.TakesText(r.URL.Path) {
		d.problem(w, r, errNotFound)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// checkTexts refuses what the database would not take.
func checkTexts(fields url.Values) error {
	for _, texts := range fields {
		for _, text := range texts {
			if !store.TakesText(text) {
				return &formError{"A text is not UTF-8, or holds a NUL."}
			}
		}
	}
	return nil
}

// show answers with a page, or with the stream that keeps it up to date.
func (d *Dashboard) show(w http.ResponseWriter, r *http.Request, s screen) {
	w.Header().Set("Vary", "Accept")
	if err := checkTexts(r.URL.Query()); err != nil {
		d.problem(w, r, err)
		return
	}
	if streams(r) && len(s.regions) > 0 {
		d.stream(w, r, s)
		return
	}
	f, err := d.frame(r, s)
	if err != nil {
		d.problem(w, r, err)
		return
	}
	d.write(w, http.StatusOK, s.file, f)
}

// frame reads what a screen shows and adds what surrounds it.
func (d *Dashboard) frame(r *http.Request, s screen) (frame, error) {
	f, err := s.read(r)
	if err != nil {
		return frame{}, err
	}
	f.Live = len(s.regions) > 0
	d.surround(&f, r)
	return f, nil
}

func (d *Dashboard) surround(f *frame, r *http.Request) {
	f.rights, f.Version, f.User = rightsOf(r), d.Version, guard.VisitorOf(r.Context()).Name
	f.Told = told[r.URL.Query().Get("told")]
	f.Sections = d.render.sections(f.Section)
	if f.Job != "" {
		f.Tabs = d.render.tabs(f.Job, f.Tab)
	}
}

func rightsOf(r *http.Request) rights { return rights{ReadOnly: !guard.VisitorOf(r.Context()).Write} }

func (d *Dashboard) write(w http.ResponseWriter, code int, file string, f frame) {
	html, err := d.render.page(file, f)
	if err != nil {
		d.log(err, "dashboard: a page cannot be shown")
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(html) // a reader that is gone misses nothing
}

func (d *Dashboard) log(err error, message string) { d.Log.Error().Err(err).Msg(message) }

// actor is who changes something, with the reason that the form gave.
func (d *Dashboard) actor(r *http.Request) store.Actor {
	return store.Actor{Who: guard.VisitorOf(r.Context()).Name, Reason: r.PostFormValue("reason")}
}

// maxForm bounds the body of a form.
const maxForm = 1 << 20

// action does what a form asks for and returns where to go then.
type action func(w http.ResponseWriter, r *http.Request) (path string, err error)

// act answers a form.
func (d *Dashboard) act(w http.ResponseWriter, r *http.Request, do action) {
	if rightsOf(r).ReadOnly { // the guard has refused it already
		d.problem(w, r, errReadOnly)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		d.problem(w, r, &formError{err.Error()})
		return
	}
	if err := checkTexts(r.Form); err != nil {
		d.problem(w, r, err)
		return
	}
	path, err := do(w, r)
	d.forget()
	if err != nil {
		d.problem(w, r, err)
		return
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
}

// forget is called after a change.
func (d *Dashboard) forget() {
	d.overviews.forget()
	d.failures.forget()
	d.passes.forget()
	d.pastPasses.forget()
	d.audits.forget()
	d.entries.forget()
	d.rows.forget()
	d.previews.forget()
}
