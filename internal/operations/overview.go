package operations

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Overview is all jobs at a glance.
type Overview struct {
	At   time.Time `json:"at"`
	Jobs []Job     `json:"jobs"`
}

// overviewAge is how long an overview serves everybody who asks: any number of open dashboards cost no more than one.
const overviewAge = time.Second

// Overview returns all jobs, those that only other instances have in their configuration too, in the order of their names.
// It may be a second old. Who asks meanwhile waits for the same answer, but no longer than ctx.
func (c *Console) Overview(ctx context.Context) (Overview, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return Overview{}, fmt.Errorf("overview: %w", context.Cause(ctx))
	}
	if last, ok := c.recent(); ok {
		return last, nil
	}
	o := Overview{At: time.Now().UTC(), Jobs: []Job{}}
	names, err := c.DB.JobNames(ctx)
	if err != nil {
		return Overview{}, err
	}
	for _, definition := range c.Jobs {
		names = append(names, definition.Name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		job, err := c.Job(ctx, name)
		if err != nil {
			return Overview{}, err
		}
		o.Jobs = append(o.Jobs, job)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = o
	return o, nil
}

func (c *Console) recent() (Overview, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, time.Since(c.last.At) < overviewAge
}

// forget makes the next overview a new one: something was changed here, and who did it wants to see it.
func (c *Console) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = Overview{}
	clear(c.elsewhere)
}

// Instance is a running instance.
type Instance struct {
	Instance     string    `json:"instance"`
	Host         string    `json:"host"`
	PID          int       `json:"pid"`
	Version      string    `json:"version"`
	Jobs         []string  `json:"jobs"`
	MaxWorkers   *int      `json:"max_workers"` // null: no limit
	Stopping     bool      `json:"stopping"`
	StartedAt    time.Time `json:"started_at"`
	LeaseSeconds float64   `json:"lease_seconds"` // negative: its lease is over
	Owned        int       `json:"workers_owned"` // of all jobs
}

// Instances lists the instances, the oldest first.
func (c *Console) Instances(ctx context.Context) ([]Instance, error) {
	list, err := c.DB.Instances(ctx)
	if err != nil {
		return nil, err
	}
	instances := make([]Instance, len(list))
	for n, i := range list {
		instances[n] = Instance{
			i.ID, i.Host, i.PID, i.Version, i.Jobs, i.MaxWorkers, i.MaxWorkers != nil && *i.MaxWorkers == 0, i.StartedAt,
			i.Expires.Seconds(), i.Owned,
		}
	}
	return instances, nil
}
