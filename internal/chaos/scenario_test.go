package chaos

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// scenario is a load and what goes wrong meanwhile.
type scenario struct {
	rows, workers, batch int
	pace                 pace
	faults               []*fault
	limit                time.Duration // of the whole
}

// args are the flags of the program.
func (s scenario) args() []string {
	return []string{fmt.Sprintf("--workers=%d", s.workers), fmt.Sprintf("--batch=%d", s.batch)}
}

// bound is how many repeats the faults explain.
func (s scenario) bound() int {
	batches := 0
	for _, f := range s.faults {
		batches += f.times * f.repeats
	}
	return batches * s.batch
}

// play runs the scenario until every row is done and every fault has struck, stops the service and judges.
func (s scenario) play(t *testing.T, on *stage, service *service) {
	t.Helper()
	began := time.Now()
	moments := draw(newRand(t), s.faults, s.rows)
	l := &load{stage: on, total: s.rows, pace: s.pace}
	if err := s.run(t.Context(), l, moments); err != nil {
		inserted, pending := l.progress()
		t.Fatalf("after %d rows, of which %d are pending: %v", inserted, pending, err)
	}
	if err := service.stop(); err != nil {
		t.Error(err)
	}
	v := on.judge(t, s.workers, s.bound())
	report(t, s, moments, v, time.Since(began))
	v.check(t)
	if v.rows != s.rows {
		t.Errorf("the table has %d rows, not %d", v.rows, s.rows)
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
