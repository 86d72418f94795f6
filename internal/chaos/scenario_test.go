package chaos

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"modulo/internal/programtest"
)

// scenario is a load and what goes wrong meanwhile, in rounds. Between rounds the queues are emptied: a broker that
// nobody consumes from is full one day.
type scenario struct {
	rounds         int
	rows           int // per round
	workers, batch int
	pace           pace
	faults         []*fault      // in every round
	limit          time.Duration // of a round
}

// args are the flags of the program.
func (s scenario) args() []string {
	return []string{fmt.Sprintf("--workers=%d", s.workers), fmt.Sprintf("--batch=%d", s.batch), "--repeats=" + programtest.Repeats()}
}

// bound is how many repeats the faults explain.
func (s scenario) bound() int {
	batches := 0
	for _, f := range s.faults {
		batches += f.times * f.repeats
	}
	return programtest.Explained(s.rounds * batches * s.batch)
}

// play runs each round until every row is done and every fault has struck, stops the service and judges.
func (s scenario) play(t *testing.T, on *stage, service *service) {
	t.Helper()
	began, rng := time.Now(), programtest.Rand(t)
	l := &load{stage: on, pace: s.pace}
	var moments []*moment
	for round := range s.rounds {
		if round > 0 {
			on.collect(t, s.rows)
		}
		l.total += s.rows
		drawn := draw(rng, s.faults, round*s.rows, s.rows)
		moments = append(moments, drawn...)
		if err := s.run(t.Context(), l, drawn); err != nil {
			inserted, pending := l.progress()
			t.Fatalf("round %d, after %d rows, of which %d are pending: %v", round+1, inserted, pending, err)
		}
	}
	if err := service.stop(); err != nil {
		t.Error(err)
	}
	v := on.judge(t, s.workers, s.bound())
	report(t, s, moments, v, time.Since(began))
	v.check(t)
	if v.rows != l.total {
		t.Errorf("the table has %d rows, not %d", v.rows, l.total)
	}
}

// run lets load and faults go on beside each other. What fails first ends the other.
func (s scenario) run(ctx context.Context, l *load, moments []*moment) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("not over after %s", s.limit))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	loaded := make(chan error, 1)
	go func() {
		err := l.run(ctx)
		if err != nil {
			stop(fmt.Errorf("load: %w", err))
		}
		loaded <- err
	}()
	err := storm(ctx, l, moments)
	if err != nil {
		stop(err)
	}
	return errors.Join(err, <-loaded)
}
