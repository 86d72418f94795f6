package operations

import (
	"context"
	"fmt"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// State is in a word what a job does.
type State string

const (
	StateRunning  State = "running"
	StateChanging State = "changing" // to another K
	StatePaused   State = "paused"
	StateStopped  State = "stopped"        // no worker has an owner
	StatePartly   State = "partly unowned" // some have none
	StateToken    State = "token trouble"  // workers wait for a person because of their tokens
)

// Job is a job at a glance.
type Job struct {
	Job             string     `json:"job"`
	State           State      `json:"state"`
	Generation      int64      `json:"generation"` // 0: the job was never run
	Workers         int        `json:"workers"`    // K in force
	Owned           int        `json:"workers_owned"`
	ChangingTo      int        `json:"changing_to,omitempty"`
	Released        int        `json:"workers_released"` // of a change: workers that have finished
	TokenProblems   int        `json:"token_problems"`   // workers that wait for a person
	Paused          bool       `json:"paused"`
	Instances       int        `json:"instances"`  // live ones that run the job
	Configured      bool       `json:"configured"` // false: not in the configuration at hand, so that its rows are not counted
	Backlog         int        `json:"backlog"`
	BacklogComplete bool       `json:"backlog_complete"`          // false: there are at least as many
	BacklogProblem  string     `json:"backlog_problem,omitempty"` // why it could not be counted, nor the failed rows
	CountedAt       time.Time  `json:"counted_at"`                // when the backlog was
	OldestSeconds   float64    `json:"oldest_pending_age_seconds"`
	Aged            bool       `json:"aged"` // false: the table does not tell ages
	Failed          int        `json:"failed"`
	Retrying        int        `json:"retrying"`
	RowsPerSecond   float64    `json:"rows_per_second"`
	Done            int64      `json:"done"` // rows marked done, ever
	ProgressAt      *time.Time `json:"last_progress_at"`
	PassAt          *time.Time `json:"last_pass_at"`
	NextAt          *time.Time `json:"next_pass_at"`      // null: not at all, or as soon as rows come
	Schedule        string     `json:"schedule"`          // as in "every 500ms"
	ByInterval      bool       `json:"-"`                 // passes begin all the time: no row should wait long; false: by cron, or not configured
	Overdue         bool       `json:"-"`                 // by cron: two passes should have begun since the oldest row came
	Problem         string     `json:"problem,omitempty"` // why a worker's last pass ended early
	PerWorker       []Worker   `json:"per_worker"`
}

// Worker is one worker of a job.
type Worker struct {
	Worker        int        `json:"worker"`
	Of            int        `json:"of"`
	Instance      string     `json:"instance,omitempty"` // empty: nobody owns it
	Host          string     `json:"host,omitempty"`
	PID           int        `json:"pid,omitempty"`
	Epoch         int64      `json:"epoch"`
	OwnerSeconds  float64    `json:"seconds"` // since it got, or lost, its owner
	LeaseSeconds  float64    `json:"lease_seconds"`
	Problem       string     `json:"problem,omitempty"` // with its token
	Backlog       int        `json:"backlog"`
	OldestSeconds float64    `json:"oldest_pending_age_seconds"`
	Skew          float64    `json:"skew"` // its backlog by the mean of all workers; 1: as much as the others
	Skewed        bool       `json:"skewed"`
	RowsPerSecond float64    `json:"rows_per_second"`
	Done          int64      `json:"done"` // rows marked done under this number, ever
	ProgressAt    *time.Time `json:"last_progress_at"`
	LastPass      *Pass      `json:"last_pass"`
}

// Bounds of what counts as skewed: a worker that has twice its share, and rows enough for that to matter.
const (
	skewedShare = 2
	skewedRows  = 1000
)

// freshness is how long what the owner of a worker told about its rate holds.
const freshness = 20 * time.Second

// Job returns one job; ErrUnknownJob where nothing is known of it.
func (c *Console) Job(ctx context.Context, name string) (Job, error) {
	control, err := c.control(ctx, name)
	if err != nil {
		return Job{}, err
	}
	job := Job{
		Job: name, State: stateOf(control), Generation: control.Generation, Workers: control.Workers, Owned: control.Owned(),
		ChangingTo: control.Next, TokenProblems: control.Problems(), Paused: control.Paused, Instances: control.Instances,
		PerWorker: make([]Worker, control.Workers),
	}
	if control.Next != 0 {
		job.Released = control.Released()
	}
	for n := range job.PerWorker {
		job.PerWorker[n] = Worker{Worker: n, Of: control.Workers}
	}
	for _, o := range control.Owners {
		if o.Number < len(job.PerWorker) {
			job.PerWorker[o.Number].own(o)
		}
	}
	if err := c.addProgress(ctx, &job); err != nil {
		return Job{}, err
	}
	if definition := c.jobs[name]; definition != nil {
		job.Configured, job.Schedule, job.ByInterval = true, schedule(definition.Schedule), definition.Schedule.Cron == ""
		job.NextAt = nextPass(definition.Schedule, job, time.Now())
	}
	if err := c.addBacklog(ctx, &job); err != nil {
		return Job{}, err
	}
	if definition := c.jobs[name]; definition != nil {
		job.Overdue = overdue(definition.Schedule, job, time.Now())
	}
	return job, nil
}

func (w *Worker) own(o store.WorkerOwner) {
	w.Instance, w.Host, w.PID, w.Epoch, w.Problem = o.Instance, o.Host, o.PID, o.Epoch, o.Problem
	w.OwnerSeconds, w.LeaseSeconds = o.ChangedAgo.Seconds(), o.Expires.Seconds()
}

// stateOf says what needs somebody first.
func stateOf(c store.Control) State {
	switch {
	case c.Problems() > 0:
		return StateToken
	case c.Next != 0:
		return StateChanging
	case c.Paused:
		return StatePaused
	case c.Owned() == 0:
		return StateStopped
	case c.Owned() < c.Workers:
		return StatePartly
	}
	return StateRunning
}

// Text is the state with what it is about, as in "changing 5 -> 8".
func (j Job) Text() string {
	if j.State == StateChanging {
		return fmt.Sprintf("changing %d -> %d", j.Workers, j.ChangingTo)
	}
	return string(j.State)
}

// addProgress adds what the owners of the workers tell.
func (c *Console) addProgress(ctx context.Context, job *Job) error {
	list, err := c.DB.Progress(ctx, job.Job)
	if err != nil {
		return err
	}
	for _, p := range list {
		job.Done += p.Done
		job.ProgressAt = later(job.ProgressAt, p.ProgressAt)
		job.PassAt = later(job.PassAt, p.PassAt)
		if p.Number < len(job.PerWorker) {
			w := &job.PerWorker[p.Number]
			w.progress(p)
			job.RowsPerSecond += w.RowsPerSecond
			if job.Problem == "" && w.Instance != "" {
				job.Problem = p.Problem
			}
		}
	}
	return nil
}

func (w *Worker) progress(p store.WorkerProgress) {
	w.Done, w.ProgressAt = p.Done, later(nil, p.ProgressAt)
	if p.NotedAgo < freshness {
		w.RowsPerSecond = p.Rate
	}
	if !p.PassAt.IsZero() {
		w.LastPass = &Pass{p.Job, p.Number, p.PassAt, p.PassTook.Milliseconds(), p.PassDone, p.PassFailed, p.Problem}
	}
}

func later(a *time.Time, b time.Time) *time.Time {
	if b.IsZero() || a != nil && !b.After(*a) {
		return a
	}
	return &b
}

// addBacklog adds what is pending, where the table is known.
func (c *Console) addBacklog(ctx context.Context, job *Job) error {
	if !job.Configured {
		return c.addFailures(ctx, job)
	}
	backlog, at, err := c.backlog(ctx, job.Job, job.Workers)
	if err != nil {
		return job.uncountable(ctx, err)
	}
	job.Backlog, job.BacklogComplete, job.CountedAt = backlog.Pending(), backlog.Complete, at
	job.OldestSeconds, job.Aged = backlog.Oldest().Seconds(), backlog.Aged
	job.Failed, job.Retrying = backlog.Failed, backlog.Retrying
	for n, pending := range backlog.Workers {
		w := &job.PerWorker[n]
		w.Backlog, w.OldestSeconds = pending.Pending, pending.Age.Seconds()
		if job.Backlog > 0 {
			w.Skew = float64(pending.Pending) * float64(len(backlog.Workers)) / float64(job.Backlog)
		}
		w.Skewed = w.Skew >= skewedShare && pending.Pending >= skewedRows
	}
	return nil
}

// uncountable keeps in the job why it cannot be counted: as long as the database answers, one bad job must not hide the others.
func (j *Job) uncountable(ctx context.Context, err error) error {
	if ctx.Err() != nil || store.IsUnreachable(err) {
		return err
	}
	j.BacklogProblem = err.Error()
	return nil
}

// backlog is what was counted last, or is counted now.
func (c *Console) backlog(ctx context.Context, job string, workers int) (store.Backlog, time.Time, error) {
	if c.Counted != nil {
		if counted, at, ok := c.Counted(job); ok && len(counted.Workers) == workers {
			return counted, at, nil
		}
	}
	source, err := c.source(job)
	if err != nil {
		return store.Backlog{}, time.Time{}, err
	}
	var counted store.Backlog
	count := func(ctx context.Context) (err error) {
		counted, err = source.Backlog(ctx, workers, store.BacklogLimit)
		return err
	}
	if c.Counted == nil {
		err = count(ctx)
	} else {
		err = c.countSoon(ctx, job, count)
	}
	return counted, time.Now().UTC(), err
}

// elsewhere are the failed rows of a job that is not configured here, and when they were counted.
type elsewhere struct {
	failed, retrying int
	at               time.Time
}

// elsewhereAge is how long a count of them serves everybody.
const elsewhereAge = 10 * time.Second

// addFailures counts the failed rows of a job whose table is not known here. If they cannot be counted, the last count stays.
func (c *Console) addFailures(ctx context.Context, job *Job) error {
	c.mu.Lock()
	n := c.elsewhere[job.Job]
	c.mu.Unlock()
	var err error
	if time.Since(n.at) >= elsewhereAge {
		err = c.countSoon(ctx, job.Job, func(ctx context.Context) error {
			failed, retrying, err := c.DB.CountByState(ctx, job.Job)
			if err != nil {
				return err
			}
			n = elsewhere{failed, retrying, time.Now().UTC()}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.elsewhere[job.Job] = n
			return nil
		})
	}
	job.Failed, job.Retrying, job.CountedAt = n.failed, n.retrying, n.at
	if err != nil {
		return job.uncountable(ctx, err)
	}
	return nil
}

const (
	// countLimit is how long counting may keep an overview waiting.
	countLimit = 2 * time.Second
	// recountAfter is when a table is tried again that could not be counted.
	recountAfter = 30 * time.Second
)

// uncounted is why a job could not be counted, and when.
type uncounted struct {
	err error
	at  time.Time
}

// countSoon counts within countLimit, or tells at once why that did not work a moment ago: while K changes, or as long as
// nothing was counted, this is asked for again and again.
func (c *Console) countSoon(ctx context.Context, job string, count func(context.Context) error) error {
	c.mu.Lock()
	last := c.uncounted[job]
	c.mu.Unlock()
	if last.err != nil && time.Since(last.at) < recountAfter {
		return last.err
	}
	soon, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	err := count(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("count the rows of %s: not done within %s", job, countLimit)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.uncounted, job)
	if err != nil && ctx.Err() == nil && !store.IsUnreachable(err) {
		c.uncounted[job] = uncounted{err, time.Now()}
	}
	return err
}

func schedule(s jobs.Schedule) string {
	switch {
	case s.Cron == "":
		return "every " + s.Every.String()
	case s.Timezone == "":
		return "cron " + s.Cron
	}
	return "cron " + s.Cron + " " + s.Timezone
}

// nextPass is when the clock begins the next one; nil where nothing would begin.
func nextPass(s jobs.Schedule, job Job, now time.Time) *time.Time {
	if job.Paused || job.Owned == 0 {
		return nil
	}
	next, ok := s.Next(now)
	if !ok {
		return nil
	}
	return &next
}

// overdueAfter is how long after its time a pass by cron may take until its rows count as left behind.
const overdueAfter = time.Minute

// overdue says whether the oldest row waits though two passes by cron should have taken it.
func overdue(s jobs.Schedule, job Job, now time.Time) bool {
	if s.Cron == "" || job.Backlog == 0 || !job.Aged {
		return false
	}
	at := now.Add(-time.Duration(job.OldestSeconds * float64(time.Second)))
	for range 2 {
		next, ok := s.Next(at)
		if !ok {
			return false
		}
		at = next
	}
	return now.Sub(at) > overdueAfter
}
