package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// NewWorkerFunc puts a worker together: its rows, its failures and its connection to the broker.
type NewWorkerFunc func(context.Context, *Job, Shard) (*Worker, error)

// Service runs all workers of its jobs.
type Service struct{ crews []crew }

// crew is the workers of one job.
type crew struct {
	job     *Job
	workers []*Worker
}

// NewService makes the workers of the jobs, which must have passed Check. newEpoch draws a number that is larger than
// all earlier ones.
func NewService(ctx context.Context, list []*Job, newEpoch func(context.Context) (int64, error), newWorker NewWorkerFunc) (*Service, error) {
	var s Service
	for _, job := range list {
		c := crew{job: job}
		for number := range job.Workers {
			epoch, err := newEpoch(ctx)
			if err != nil {
				return nil, err
			}
			worker, err := newWorker(ctx, job, Shard{Number: number, Of: job.Workers, Epoch: epoch})
			if err != nil {
				return nil, fmt.Errorf("worker %d/%d of job %s: %w", number, job.Workers, job.Name, err)
			}
			c.workers = append(c.workers, worker)
		}
		s.crews = append(s.crews, c)
	}
	return &s, nil
}

// Run triggers passes by the jobs' schedules until ctx ends, and returns when every worker has finished what it had in
// flight.
func (s *Service) Run(ctx context.Context) error {
	clock, err := newClock()
	if err != nil {
		return err
	}
	var workers sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	for _, c := range s.crews {
		trigger := c.start(ctx, &workers)
		if err = clock.add(c.job.Name, c.job.Schedule, trigger); err != nil {
			stop()
			break
		}
	}
	if err == nil {
		clock.start()
	}
	<-ctx.Done()
	stop()
	workers.Wait()
	return errors.Join(err, clock.stop())
}

// start runs the workers and returns what triggers a pass of each. A trigger that comes during a pass is kept, a
// second one is dropped.
func (c crew) start(ctx context.Context, running *sync.WaitGroup) (trigger func()) {
	triggers := make([]chan struct{}, len(c.workers))
	for i, w := range c.workers {
		triggers[i] = make(chan struct{}, 1)
		running.Go(func() { w.Run(ctx, triggers[i]) })
	}
	return func() {
		for _, t := range triggers {
			select {
			case t <- struct{}{}:
			default:
			}
		}
	}
}

// Summary is what Once did for a job.
type Summary struct {
	Job     string
	Workers int
	Outcome Outcome
}

// Once drains every worker once, all at the same time. The summaries are complete as far as an error let the workers
// come.
func (s *Service) Once(ctx context.Context) ([]Summary, error) {
	summaries := make([]Summary, len(s.crews))
	var problems []error
	var lock sync.Mutex
	var running sync.WaitGroup
	for i, c := range s.crews {
		summaries[i] = Summary{Job: c.job.Name, Workers: len(c.workers)}
		for _, w := range c.workers {
			running.Go(func() {
				outcome, err := w.Drain(ctx)
				lock.Lock()
				defer lock.Unlock()
				summaries[i].Outcome.Add(outcome)
				if err != nil {
					problems = append(problems, fmt.Errorf("job %s, worker %d: %w", c.job.Name, w.Shard.Number, err))
				}
			})
		}
	}
	running.Wait()
	return summaries, errors.Join(problems...)
}
