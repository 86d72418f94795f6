// Package api answers /api/v1: JSON for programs, described by openapi.yaml. It decides nothing: package operations does
// the work, package guard has let the request in.
package api

import (
	_ "embed"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"modulo/internal/guard"
	"modulo/internal/operations"
	"modulo/store"
)

// answerTime is how long the work for one answer may take.
const answerTime = 8 * time.Second

//go:embed openapi.yaml
var description []byte

// API answers requests below /api/v1/. Safe for concurrent use.
type API struct {
	console func() *operations.Console
	log     zerolog.Logger
	mux     *http.ServeMux
}

// New returns the handler. console returns nil while the service is not open: the answer then is 503. The log is told of
// answers that are our fault.
func New(console func() *operations.Console, log zerolog.Logger) *API {
	a := &API{console: console, log: log, mux: http.NewServeMux()}
	for _, r := range a.routes() {
		a.mux.HandleFunc(r.method+" /api/v1"+r.path, a.answers(r))
	}
	a.mux.HandleFunc("GET /api/v1/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(description) // who is gone misses nothing
	})
	return a
}

// route is one method of one path. openapi.yaml describes all of them, which a test sees to.
type route struct {
	method, path string
	do           func(*request) (any, error)
	limit        time.Duration // of the work; 0: answerTime
}

func (a *API) routes() []route {
	return []route{
		{"GET", "/overview", overview, 0},
		{"GET", "/jobs/{job}", job, 0},
		{"GET", "/jobs/{job}/history", history, 0},
		{"GET", "/jobs/{job}/passes", passes, 0},
		{"GET", "/jobs/{job}/passes/history", pastPasses, 0},
		{"GET", "/jobs/{job}/tokens", tokens, 0},
		{"GET", "/jobs/{job}/preview", preview, 0},
		{"GET", "/jobs/{job}/change", change, 0},
		{"POST", "/jobs/{job}/workers", setWorkers, 0},
		{"POST", "/jobs/{job}/abort-change", abortChange, 0},
		{"POST", "/jobs/{job}/pause", pause(true), 0},
		{"POST", "/jobs/{job}/resume", pause(false), 0},
		{"POST", "/jobs/{job}/trigger", trigger, 0},
		{"POST", "/jobs/{job}/reset-tokens", resetTokens, 0},
		{"GET", "/jobs/{job}/failures", failures, 0},
		{"GET", "/jobs/{job}/failures/count", countFailures, 0},
		{"GET", "/jobs/{job}/failures/groups", groupFailures, 0},
		{"POST", "/jobs/{job}/failures/retry", repair("retry"), 0},
		{"POST", "/jobs/{job}/failures/discard", repair("discard"), 0},
		{"GET", "/jobs/{job}/rows/{row}", row, 0},
		{"GET", "/instances", instances, 0},
		{"GET", "/audit", audit, 0},
		{"GET", "/audit/{entry}", auditEntry, 0},
		{"GET", "/settings", settings, 0},
		{"GET", "/doctor", checkup, 0},
		{"POST", "/doctor", examine, operations.ExamineLimit},
	}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !store.TakesText(r.URL.Path) {
		guard.Refuse(w, r, http.StatusNotFound, "the path is no text: nothing has such a name")
		return
	}
	handler, pattern := a.mux.Handler(r)
	if pattern == "" {
		a.nowhere(handler, w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// nowhere answers where no route is, with the status that the mux has for it.
func (a *API) nowhere(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	status := &statusOnly{header: http.Header{}}
	handler.ServeHTTP(status, r)
	if allow := status.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
	}
	guard.Refuse(w, r, status.code, "see /api/v1/openapi.yaml for what there is")
}

// statusOnly takes the status and headers of an answer.
type statusOnly struct {
	header http.Header
	code   int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusOnly) WriteHeader(code int)        { s.code = code }

// request is one that was let in, with what it is about.
type request struct {
	*http.Request // its context ends when nobody waits any more, or at answerTime
	console       *operations.Console
	visitor       guard.Visitor
	w             http.ResponseWriter // for the limit of the body only
}
