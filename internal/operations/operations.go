// Package operations is what an operator sees of Modulo and can do about it: one answer for the command line, the JSON API
// and the dashboard. It works on the database alone; beside a running instance it also knows the last hour.
package operations

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"modulo/internal/config"
	"modulo/internal/doctor"
	"modulo/jobs"
	"modulo/store"
)

// Config says what there is to see.
type Config struct {
	DB      *store.DB
	Jobs    []*jobs.Job              // of the configuration
	Sources map[string]*store.Source // their tables, by job
	Unfit   map[string]error         // why a table has no source, by job
	// Counted returns what was last counted of a job, and when; nil, or false: pending rows are counted when somebody asks.
	Counted func(job string) (store.Backlog, time.Time, bool)
	// Settings are the configuration, masked.
	Settings []config.Setting
	// Doctor makes all checks, when somebody asks for them; nil: nobody can.
	Doctor func(context.Context) doctor.Report
}

// Console is all that can be seen and done. Safe for concurrent use.
type Console struct {
	Config
	jobs    map[string]*jobs.Job
	history history
	queue   chan *queued
	checkup checkup

	heavy   chan struct{} // held while rows are read by a caller's filter; see heavily
	reading chan struct{} // held while an overview is made
	mu      sync.Mutex
	last    Overview
	// uncounted are the tables that could not be counted, by job.
	uncounted map[string]uncounted
	elsewhere map[string]elsewhere // failed rows of jobs that are not configured here
}

// New returns a console. Only Watch keeps the history and does queued repairs; all else works without it.
func New(cfg Config) *Console {
	c := &Console{Config: cfg, jobs: map[string]*jobs.Job{}, queue: make(chan *queued, maxQueued), uncounted: map[string]uncounted{}}
	c.elsewhere = map[string]elsewhere{}
	c.checkup.turn, c.checkup.last = make(chan struct{}, 1), Checkup{Findings: doctor.Report{}}
	c.heavy, c.reading = make(chan struct{}, maxHeavy), make(chan struct{}, 1)
	for _, job := range cfg.Jobs {
		c.jobs[job.Name] = job
	}
	return c
}

// ErrUnknownJob says that a job is neither in the configuration nor was it ever run.
var ErrUnknownJob = errors.New("no such job")

// UnconfiguredError says that a job is not in the configuration at hand, so that its table is not known.
type UnconfiguredError struct{ Job string }

func (e *UnconfiguredError) Error() string {
	return fmt.Sprintf("job %s is not in the configuration of this process: its table is not known here", e.Job)
}

// Definition is the job as it is configured; nil where it is not.
func (c *Console) Definition(job string) *jobs.Job { return c.jobs[job] }

func (c *Console) source(job string) (*store.Source, error) {
	if source := c.Sources[job]; source != nil {
		return source, nil
	}
	if err := c.Unfit[job]; err != nil {
		return nil, err
	}
	return nil, &UnconfiguredError{job}
}

// control is the state of a job; one that is configured but was never run is stopped.
func (c *Console) control(ctx context.Context, name string) (store.Control, error) {
	control, err := c.DB.Control(ctx, name)
	if job := c.jobs[name]; job != nil && errors.Is(err, store.ErrNoJob) {
		return store.Control{Job: name, Workers: job.Workers}, nil
	}
	return control, orNoSuch(err)
}

// CheckJob returns ErrUnknownJob where a job is neither in the configuration nor was it ever run: a slip in a name must not
// look like a job without failed rows.
func (c *Console) CheckJob(ctx context.Context, name string) error {
	if c.jobs[name] != nil {
		return nil
	}
	return orNoSuch(c.DB.CheckJob(ctx, name))
}

func orNoSuch(err error) error {
	if errors.Is(err, store.ErrNoJob) {
		return fmt.Errorf("%w: %w", ErrUnknownJob, err)
	}
	return err
}

// maxHeavy is how many walks over rows by a caller's filter go on at a time: they share the connections of the workers,
// and whoever may only look must not keep those waiting.
const maxHeavy = 2

// heavily does read when its turn has come; it waits no longer than ctx.
func heavily[V any](ctx context.Context, c *Console, read func() (V, error)) (V, error) {
	select {
	case c.heavy <- struct{}{}:
		defer func() { <-c.heavy }()
		return read()
	case <-ctx.Done():
		var none V
		return none, fmt.Errorf("waiting for other readers: %w", context.Cause(ctx))
	}
}
