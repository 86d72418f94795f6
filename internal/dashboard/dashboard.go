// Package dashboard is what an operator sees in a browser: whether events flow, why not if not, and how to put it right. It
// is plain HTML that works without scripts; with them its live parts are kept up to date by server-sent events.
package dashboard

import (
	"net/http"

	"github.com/rs/zerolog"

	"modulo/internal/operations"
	"modulo/store"
)

// Config says what there is to see, and for whom.
type Config struct {
	Console *operations.Console
	Prefix  string // of all addresses, as in "/modulo"; empty: none
	Version string
	// Visitor says who asks and what they may do. What it forbids is refused here, whatever a page offers.
	Visitor func(*http.Request) Visitor
	Log     zerolog.Logger
}

// Visitor is somebody who looks at the dashboard.
type Visitor struct {
	Name     string // for the audit
	ReadOnly bool
	Payloads bool // may see payloads, on request
}

// Dashboard is an http.Handler. Safe for concurrent use.
type Dashboard struct {
	Config
	render    *renderer
	mux       *http.ServeMux
	streaming streaming

	overviews shared[operations.Overview]
	failures  shared[matches]
	instances shared[[]operations.Instance]
	passes    shared[[]operations.Pass]
	audits    shared[operations.Audit]
	entries   shared[operations.AuditEntry]
	rows      shared[operations.Row]
	previews  shared[operations.Preview]
}

// New returns a dashboard.
func New(cfg Config) (*Dashboard, error) {
	render, err := newRenderer(cfg.Prefix)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{Config: cfg, render: render, mux: http.NewServeMux()}
	for pattern, s := range map[string]screen{
		"/{$}":                           {"overview.html", []string{"verdict", "totals", "jobs"}, d.readOverview},
		"/jobs/{job}":                    {"job.html", []string{"verdict", "actions", "change", "numbers", "workers"}, d.readJob},
		"/jobs/{job}/workers":            {"workers.html", nil, d.readPreview},
		"/jobs/{job}/failed":             {"failed.html", []string{"matches", "groups"}, d.readFailed},
		"/jobs/{job}/failed/{repair}":    {"repair.html", nil, d.readRepair},
		"/jobs/{job}/rows/{row}":         {"row.html", []string{"row"}, d.readRow},
		"/jobs/{job}/passes":             {"passes.html", []string{"passes"}, d.readPasses},
		"/jobs/{job}/operations/{entry}": {"operation.html", []string{"operation"}, d.readOperation},
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

// policy forbids all that a page of ours does not need: above all scripts and styles that are not files of ours.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers requests whose path has lost the prefix already.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("X-Robots-Tag", "noindex, nofollow")
	header.Set("Cache-Control", "no-store")
	d.mux.ServeHTTP(w, r)
}

// show answers with a page, or with the stream that keeps it up to date.
func (d *Dashboard) show(w http.ResponseWriter, r *http.Request, s screen) {
	w.Header().Set("Vary", "Accept")
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
	visitor := d.Visitor(r)
	f.rights, f.Version, f.User = rights{visitor.ReadOnly}, d.Version, visitor.Name
	f.Told = told[r.URL.Query().Get("told")]
	f.Sections = d.render.sections(f.Section)
	if f.Job != "" {
		f.Tabs = d.render.tabs(f.Job, f.Tab)
	}
}

func (d *Dashboard) rights(r *http.Request) rights { return rights{d.Visitor(r).ReadOnly} }

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
	return store.Actor{Who: d.Visitor(r).Name, Reason: r.PostFormValue("reason")}
}

// maxForm bounds the body of a form.
const maxForm = 1 << 20

// action does what a form asks for and returns where to go then.
type action func(r *http.Request) (path string, err error)

// act answers a form.
func (d *Dashboard) act(w http.ResponseWriter, r *http.Request, do action) {
	if d.Visitor(r).ReadOnly {
		d.problem(w, r, errReadOnly)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		d.problem(w, r, &formError{err.Error()})
		return
	}
	path, err := do(r)
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
	d.audits.forget()
	d.entries.forget()
	d.rows.forget()
	d.previews.forget()
}
