package main

import (
	"context"
	"fmt"
	"time"

	"modulo/internal/config"
	"modulo/internal/retention"
	"modulo/store"
)

// maxLag is how long a row of modulo.outbox may wait while old ones are removed; a multiple of the time between passes
// counts instead where that is longer.
const (
	maxLag       = time.Minute
	maxLagPasses = 10
)

// retention says which old rows are removed; no Sweeps: the configuration keeps them all.
func (s *service) retention(c *config.Config, o opening) (retention.Config, error) {
	r := c.Retention
	list, err := s.db.Sweeps(store.RetentionConfig{
		Jobs: s.jobs, Others: c.Others(), Done: time.Duration(r.Done), Failed: time.Duration(r.Failed), Audit: time.Duration(r.Audit),
	})
	if err != nil {
		return retention.Config{}, err
	}
	removal := retention.Config{Interval: time.Duration(r.Every), Busy: s.busy, Observer: o.monitor, Log: o.log}
	for _, sweep := range list {
		removal.Sweeps = append(removal.Sweeps, sweep)
	}
	return removal, nil
}

// busy says of which job more is pending than one batch of each worker, or something for too long.
func (s *service) busy(ctx context.Context) (string, error) {
	for _, job := range s.jobs {
		limit := job.Workers * job.Batch
		b, err := s.sources[job.Name].Backlog(ctx, job.Workers, limit)
		if err != nil {
			return "", err
		}
		lag := max(maxLag, maxLagPasses*job.Schedule.Every)
		switch {
		case !b.Complete:
			return fmt.Sprintf("job %s: %d rows are pending", job.Name, limit), nil
		case job.Schedule.Cron == "" && b.Oldest() > lag:
			return fmt.Sprintf("job %s: a row has been waiting for more than %s", job.Name, lag), nil
		}
	}
	return "", nil
}
