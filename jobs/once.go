package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Summary is what Once did for a job.
type Summary struct {
	Job     string
	Workers int
	Outcome Outcome
}

// turns bounds how many workers work at the same time; nil: no bound.
type turns chan struct{}

func newTurns(most int) turns {
	if most == 0 {
		return nil
	}
	return make(turns, most)
}

// take waits for a turn, which give ends. It fails when ctx ends before there is one.
func (t turns) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turns) give() {
	if t != nil {
		<-t
	}
}

// Once drains every worker once, all at the same time or OnceWorkers at a time, as the only instance: the Ownership must
// give it every worker or an error. The summaries are complete as far as an error let the workers come.
func (s *Service) Once(ctx context.Context) ([]Summary, error) {
	m, err := s.join(ctx, false)
	if err != nil {
		return nil, err
	}
	beats, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var beating sync.WaitGroup
	beating.Go(func() { s.beat(beats, m) })
	var summaries []Summary
	free := newTurns(s.OnceWorkers)
	state, err := s.ownAll(ctx, m, free)
	if err == nil {
		s.Observer.Ticked(state)
		summaries, err = s.drainAll(ctx, m, state, free)
		err = errors.Join(err, s.releaseAll(ctx, m, state))
	}
	stopBeating()
	beating.Wait()
	return summaries, errors.Join(err, s.leave(ctx, m))
}

// ownAll ticks until the instance owns every worker of its jobs.
func (s *Service) ownAll(ctx context.Context, m *membership, free turns) (Tick, error) {
	for {
		var state Tick
		err := s.ask(ctx, m, func(call context.Context) (err error) {
			state, err = m.instance.Tick(call, false)
			return err
		})
		if err != nil {
			return Tick{}, err
		}
		all := true
		for i, job := range state.Jobs {
			if job.Paused {
				return Tick{}, &PausedError{job.Job}
			}
			s.crews[i].inherit(job.Owned)
			all = all && len(job.Owned) == job.Workers && job.Next == 0 && !job.Hold
		}
		if all {
			return state, nil
		}
		if err := s.settleAll(ctx, m, state, free); err != nil {
			return Tick{}, err
		}
		if !pause(ctx, s.Timing.Tick/soonTicks) {
			return Tick{}, context.Cause(ctx)
		}
	}
}

// ask makes a call to the database in the time of a tick. A lease that is over before there is an answer is a deadline.
func (s *Service) ask(ctx context.Context, m *membership, call func(context.Context) error) error {
	tick, cancel := s.tickTime(ctx, m)
	defer cancel()
	err := call(tick)
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(tick), ErrFenced) {
		return fmt.Errorf("the lease was over before the database answered: %w", context.DeadlineExceeded)
	}
	return err
}

// settleAll settles and gives back what keeps changes of K waiting.
func (s *Service) settleAll(ctx context.Context, m *membership, state Tick, free turns) error {
	for i, job := range state.Jobs {
		owned := slices.DeleteFunc(slices.Clone(job.Owned), func(o Owned) bool { return !o.GiveBack })
		if len(owned) == 0 {
			continue
		}
		problems := make([]error, len(owned))
		var running sync.WaitGroup
		for n := range owned {
			running.Go(func() { problems[n] = s.settleWorker(ctx, m, s.Jobs[i], &owned[n], free) })
		}
		running.Wait()
		if err := errors.Join(problems...); err != nil {
			return err
		}
		err := s.ask(ctx, m, func(call context.Context) error { return m.instance.Release(call, job.Job, owned) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) settleWorker(ctx context.Context, m *membership, job *Job, owned *Owned, free turns) error {
	if err := free.take(ctx); err != nil {
		return err
	}
	defer free.give()
	worker, err := s.NewWorker(job, *owned, m.lease)
	if err == nil {
		owned.Rest, err = worker.settleOnce(ctx)
	}
	if err != nil {
		return fmt.Errorf("job %s, worker %d: %w", job.Name, owned.Number, err)
	}
	return nil
}

func (s *Service) drainAll(ctx context.Context, m *membership, state Tick, free turns) ([]Summary, error) {
	summaries := make([]Summary, len(state.Jobs))
	problems := make([]error, len(state.Jobs))
	var running sync.WaitGroup
	for i, job := range state.Jobs {
		running.Go(func() { summaries[i], problems[i] = s.drainJob(ctx, m, s.Jobs[i], job, free) })
	}
	running.Wait()
	return summaries, errors.Join(problems...)
}

// drainJob drains the workers of a job once, and notes which of them did not finish.
func (s *Service) drainJob(ctx context.Context, m *membership, job *Job, state JobState, free turns) (Summary, error) {
	outcomes, problems := make([]Outcome, len(state.Owned)), make([]error, len(state.Owned))
	var running sync.WaitGroup
	for i := range state.Owned {
		owned := &state.Owned[i]
		running.Go(func() {
			if problems[i] = free.take(ctx); problems[i] != nil {
				return // it leaves what its last owner left
			}
			defer free.give()
			worker, err := s.NewWorker(job, *owned, m.lease)
			if err == nil {
				outcomes[i], owned.Rest, err = worker.Drain(ctx)
			}
			if err != nil {
				problems[i] = fmt.Errorf("job %s, worker %d: %w", job.Name, owned.Number, err)
			}
		})
	}
	running.Wait()
	summary := Summary{Job: job.Name, Workers: state.Workers}
	for _, outcome := range outcomes {
		summary.Outcome.Add(outcome)
	}
	return summary, errors.Join(problems...)
}

// releaseAll says of each worker whether it finished its pass.
func (s *Service) releaseAll(ctx context.Context, m *membership, state Tick) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Farewell/farewells)
	defer cancel()
	for _, job := range state.Jobs {
		if err := m.instance.Release(ctx, job.Job, job.Owned); err != nil {
			return err
		}
	}
	return nil
}
