package operations

import (
	"context"
	"fmt"

	"modulo/jobs"
	"modulo/store"
)

// Preview says how many of the rows that are pending now each worker of another K would have.
type Preview struct {
	Job        string  `json:"job"`
	Generation int64   `json:"generation"` // for if_generation
	Workers    int     `json:"workers"`
	ChangeTo   int     `json:"change_to"`
	Backlog    int     `json:"backlog"`
	Complete   bool    `json:"complete"` // false: only the oldest rows were counted, as many as Backlog says
	Rows       []int   `json:"rows"`     // of each worker
	Skew       float64 `json:"skew"`     // rows of the fullest worker by the mean
}

// Preview counts the pending rows of each worker as if K were another one: exact up to store.BacklogLimit, of the oldest
// ones beyond.
func (c *Console) Preview(ctx context.Context, name string, workers int) (Preview, error) {
	if workers < 1 || workers > jobs.MaxWorkers {
		return Preview{}, &RangeError{"workers", workers, 1, jobs.MaxWorkers}
	}
	control, err := c.control(ctx, name)
	if err != nil {
		return Preview{}, err
	}
	source, err := c.source(name)
	if err != nil {
		return Preview{}, err
	}
	backlog, err := heavily(ctx, c, func() (store.Backlog, error) { return source.Backlog(ctx, workers, store.BacklogLimit) })
	if err != nil {
		return Preview{}, err
	}
	p := Preview{
		Job: name, Generation: control.Generation, Workers: control.Workers, ChangeTo: workers,
		Backlog: backlog.Pending(), Complete: backlog.Complete,
	}
	for _, w := range backlog.Workers {
		p.Rows = append(p.Rows, w.Pending)
		if p.Backlog > 0 {
			p.Skew = max(p.Skew, float64(w.Pending)*float64(workers)/float64(p.Backlog))
		}
	}
	return p, nil
}

// RangeError says that a number is out of range.
type RangeError struct {
	What      string
	Got       int
	Low, High int
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("%s: %d is not within %d and %d", e.What, e.Got, e.Low, e.High)
}

// Change is a change of K, as it goes on.
type Change struct {
	Job        string `json:"job"`
	Generation int64  `json:"generation"` // in force
	Workers    int    `json:"workers"`    // in force
	ChangingTo int    `json:"changing_to,omitempty"`
	Released   int    `json:"workers_released"` // workers of the generation in force that have finished
	InForce    bool   `json:"in_force"`         // no change is under way
}

func changeOf(c store.Control) Change {
	return Change{c.Job, c.Generation, c.Workers, c.Next, c.Released(), c.Next == 0}
}

// SetWorkers asks for another K and returns the state before. Errors as store.Operator.ChangeWorkers.
func (c *Console) SetWorkers(ctx context.Context, by store.Actor, change store.WorkersChange) (Change, error) {
	if change.Workers < 1 || change.Workers > jobs.MaxWorkers {
		return Change{}, &RangeError{"workers", change.Workers, 1, jobs.MaxWorkers}
	}
	if err := c.CheckJob(ctx, change.Job); err != nil {
		return Change{}, err
	}
	defer c.forget()
	before, err := c.DB.As(by).ChangeWorkers(ctx, change)
	return changeOf(before), err
}

// Advance helps a change of K on: it ends without any instance where nothing is open.
func (c *Console) Advance(ctx context.Context, job string) (Change, error) {
	if err := c.DB.Advance(ctx, job); err != nil {
		return Change{}, err
	}
	return c.Change(ctx, job)
}

// Change says how far a change of K is.
func (c *Console) Change(ctx context.Context, job string) (Change, error) {
	control, err := c.control(ctx, job)
	return changeOf(control), err
}

// AbortChange takes a change of K back that is not yet in force; false: there was none. Errors as store.Operator.AbortChange.
func (c *Console) AbortChange(ctx context.Context, by store.Actor, change store.WorkersChange) (bool, error) {
	if err := c.CheckJob(ctx, change.Job); err != nil {
		return false, err
	}
	if _, err := c.DB.Control(ctx, change.Job); err != nil {
		return false, err
	}
	defer c.forget()
	return c.DB.As(by).AbortChange(ctx, change)
}

// Pause stops a job in all instances, or lets it go on; store.ErrNoJob where it was never run.
func (c *Console) Pause(ctx context.Context, by store.Actor, job string, paused bool) error {
	return c.steer(ctx, job, func() (bool, error) { return c.DB.As(by).Pause(ctx, job, paused) })
}

// Trigger begins a pass of every worker; store.ErrNoJob where the job was never run.
func (c *Console) Trigger(ctx context.Context, by store.Actor, job string) error {
	return c.steer(ctx, job, func() (bool, error) { return c.DB.As(by).Trigger(ctx, job) })
}

// steer does something with a job that is known; do says whether it was ever run.
func (c *Console) steer(ctx context.Context, job string, do func() (bool, error)) error {
	if err := c.CheckJob(ctx, job); err != nil {
		return err
	}
	defer c.forget()
	run, err := do()
	if err == nil && !run {
		err = fmt.Errorf("job %s: %w", job, store.ErrNoJob)
	}
	return err
}

// Token is what is known of the token of one worker.
type Token struct {
	Worker  int    `json:"worker"`
	Lineage string `json:"lineage"`
	Made    bool   `json:"made"`
	Problem string `json:"problem,omitempty"`
}

// Tokens lists the tokens of a job's workers, those beyond the present K too.
func (c *Console) Tokens(ctx context.Context, job string) ([]Token, error) {
	if err := c.CheckJob(ctx, job); err != nil {
		return nil, err
	}
	list, err := c.DB.Tokens(ctx, job)
	tokens := make([]Token, len(list))
	for i, t := range list {
		tokens[i] = Token{t.Number, t.Lineage, t.Made, t.Problem}
	}
	return tokens, err
}

// ResetTokens lets tokens be made anew; see store.Operator.ResetTokens.
func (c *Console) ResetTokens(ctx context.Context, by store.Actor, job string, worker *int, force bool) (int, error) {
	if err := c.CheckJob(ctx, job); err != nil {
		return 0, err
	}
	return c.DB.As(by).ResetTokens(ctx, job, worker, force)
}
