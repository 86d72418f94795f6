// Package monitor is what can be seen of a running service from outside: its metrics, and whether it is alive and ready.
// It is told what happens as a jobs.Observer and counts pending rows by itself; an answer to a probe or a scrape never
// waits for the database or the broker.
package monitor

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"modulo/jobs"
)

// Config says what is monitored.
type Config struct {
	Jobs    []*jobs.Job
	Version string
	// Lease is how long the database counts as reachable after its last answer.
	Lease time.Duration
	// Patience is how long a worker that has something to do may go without progress. It must be longer than the
	// calls of one batch may take together.
	Patience time.Duration
	// Traces returns how many spans were sent, and how many were dropped; nil where nobody traces.
	Traces func() (sent, dropped uint64)
	Log    zerolog.Logger
}

// Monitor implements jobs.Observer and jobs.InstanceObserver. Safe for concurrent use.
type Monitor struct {
	Config
	registry *prometheus.Registry
	counts   *counts

	born  time.Time
	moved atomic.Int64  // nanoseconds from born until something last moved
	known chan struct{} // closed by the first tick

	mu       sync.Mutex // held only to read or write a few fields
	phase    phase
	database database
	schema   error // of the last check
	jobs     map[string]*job
	past     past
	listens  *bool // whether inserts are heard of; nil: no job listens
}

var (
	_ jobs.Observer         = (*Monitor)(nil)
	_ jobs.InstanceObserver = (*Monitor)(nil)
)

// phase is how far the process is.
type phase int

const (
	starting phase = iota
	running
	stopping
)

// New returns a monitor of a service that is starting.
func New(cfg Config) *Monitor {
	m := &Monitor{Config: cfg, registry: prometheus.NewRegistry(), born: time.Now(), known: make(chan struct{}), jobs: map[string]*job{}}
	m.past.last = map[alike]*entry{}
	for _, j := range cfg.Jobs {
		m.jobs[j.Name] = &job{schedule: j.Schedule, workers: map[int]*worker{}, parted: map[int]parting{}}
	}
	m.counts = newCounts(m.registry, cfg.Jobs)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "modulo_build_info", Help: "Always 1; the labels tell what is running.",
		ConstLabels: prometheus.Labels{"version": cfg.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build, gauges{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Runs says that the service has checked its jobs against the database and begins to work.
func (m *Monitor) Runs() { m.enter(running) }

// Stops says that the service was told to stop.
func (m *Monitor) Stops() { m.enter(stopping) }

func (m *Monitor) enter(p phase) {
	m.move()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = p
}

// move notes that something has moved.
func (m *Monitor) move() { m.moved.Store(int64(time.Since(m.born))) }

// maxScrapes is how many scrapes may run at a time.
const maxScrapes = 4

// Metrics answers scrapes.
func (m *Monitor) Metrics() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}
