package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"modulo/internal/config"
	"modulo/internal/retention"
	"modulo/jobs"
	"modulo/store"
)

// maxLag is how long a row of modulo.outbox may wait while old ones are removed; a multiple of the time between passes
// counts instead where that is longer.
const (
	maxLag       = time.Minute
	maxLagPasses = 10
)

// besideRetention works while old rows are removed in the background, if the configuration asks for that.
func (s *service) besideRetention(ctx context.Context, c *config.Config, o opening, work func() error) error {
	r := c.Retention
	list, err := s.db.Sweeps(store.RetentionConfig{
		Jobs: c.JobList(), Others: c.Others(), Done: time.Duration(r.Done), Failed: time.Duration(r.Failed), Audit: time.Duration(r.Audit),
	})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return work()
	}
	cfg := retention.Config{Interval: time.Duration(r.Every), Log: o.log, Busy: func(ctx context.Context) (string, error) { return s.busy(ctx, c.JobList()) }}
	for _, sweep := range list {
		cfg.Sweeps = append(cfg.Sweeps, sweep)
	}
	if o.monitor != nil {
		cfg.Observer = o.monitor
	}
	removing, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { retention.Run(removing, cfg) })
	err = work()
	stop()
	running.Wait()
	return err
}

// busy says of which job more is pending than one batch of each worker, or something for too long.
func (s *service) busy(ctx context.Context, list []*jobs.Job) (string, error) {
	for _, job := range list {
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
