package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// notebook takes notes, unless it is away.
type notebook struct {
	mu     sync.Mutex
	away   bool
	slow   bool // does not answer in time, and does not give up at once either
	silent bool // takes notes of progress, but its answers get lost
	denied bool // the history
	list   []store.WorkerProgress
	passes []store.Pass
	pruned int
}

// set changes how it behaves from now on.
func (n *notebook) set(change func(*notebook)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func (n *notebook) NoteProgress(ctx context.Context, list []store.WorkerProgress) error {
	if n.slow {
		<-ctx.Done()
		time.Sleep(time.Millisecond)
		return ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away {
		return errors.New("away")
	}
	n.list = append(n.list, list...)
	if n.silent {
		return errors.New("no answer")
	}
	return nil
}

func (n *notebook) NotePasses(_ context.Context, list []store.Pass) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away || n.denied {
		return errors.New("away")
	}
	n.passes = append(n.passes, list...)
	return nil
}

func (n *notebook) PrunePasses(context.Context) (more bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pruned++
	return n.pruned < 3, nil
}

// told are the notes of one worker since the last call.
func (n *notebook) told(id jobs.WorkerID) (lines []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.list {
		if p.Job == id.Job && p.Number == id.Number {
			lines = append(lines, fmt.Sprintf("%d done, %.0f/s, pass %d/%d, %q", p.Done, p.Rate, p.PassDone, p.PassFailed, p.Problem))
		}
	}
	n.list = nil
	return lines
}

// telling runs Tell until end, which waits for its last notes.
func telling(t *testing.T, m *Monitor, notes Notes) (end func()) {
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.Tell(ctx, notes, time.Second) })
	return func() { stop(); running.Wait() }
}

// stepping returns what compares, after a rest, with what was told since the last time.
func stepping(t *testing.T, told func() []string) (step func(rest time.Duration, want ...string)) {
	return func(rest time.Duration, want ...string) {
		t.Helper()
		time.Sleep(rest)
		synctest.Wait()
		if got := told(); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// What a worker does is told every few seconds, once, also where the database was away or the worker has another owner.
func TestTell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, notes := newMonitor(), &notebook{}
		end := telling(t, m, notes)
		step := stepping(t, func() []string { return notes.told(orders) })
		step(5*time.Second, `0 done, 0/s, pass 0/0, ""`)
		m.Did(orders, jobs.StepMark, 50, time.Second, nil)
		m.Passed(orders, jobs.Outcome{Fetched: 50, Done: 50, Failed: 1}, nil)
		step(5*time.Second, `50 done, 10/s, pass 50/1, ""`)
		m.Passed(orders, jobs.Outcome{}, nil)
		step(5*time.Second, `0 done, 0/s, pass 50/1, ""`) // the rate is over; a pass without rows is no news
		step(10 * time.Second)
		step(5*time.Second, `0 done, 0/s, pass 50/1, ""`) // it is alive
		notes.set(func(n *notebook) { n.away = true })
		m.Did(orders, jobs.StepMark, 7, time.Second, nil)
		m.Passed(orders, jobs.Outcome{}, errors.New("no broker"))
		step(5 * time.Second)
		notes.set(func(n *notebook) { n.away = false })
		step(5*time.Second, `7 done, 1/s, pass 0/0, "no broker"`, `0 done, 0/s, pass 0/0, "no broker"`) // as it was then, and is now
		m.Did(orders, jobs.StepMark, 3, time.Second, nil)
		m.Left()
		step(5*time.Second, `3 done, 0/s, pass 0/0, ""`)
		for range 2 { // twice between two notes
			m.Ticked(tick(""))
			m.Did(orders, jobs.StepMark, 4, time.Second, nil)
			m.Left()
		}
		step(5*time.Second, `8 done, 0/s, pass 0/0, ""`)
		m.Ticked(tick(""))
		m.Did(orders, jobs.StepMark, 2, time.Second, nil)
		m.Left()
		m.Ticked(tick(""))
		m.Did(orders, jobs.StepMark, 4, time.Second, nil)
		notes.set(func(n *notebook) { n.away = true })
		m.Left()
		step(5 * time.Second)
		m.Ticked(tick(""))
		m.Did(orders, jobs.StepMark, 6, time.Second, nil)
		m.Left()
		notes.set(func(n *notebook) { n.away = false })
		step(5*time.Second, `6 done, 0/s, pass 0/0, ""`, `6 done, 0/s, pass 0/0, ""`) // of three times that it was ours
		m.Ticked(tick(""))
		m.Did(orders, jobs.StepMark, 2, time.Second, nil)
		end()
		step(0, `2 done, 0/s, pass 0/0, ""`)
	})
}

// Notes that may have been written, as where a stop cuts off the call, are repeated just as they were, before any others.
func TestTellAfterDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, notes := newMonitor(), &notebook{silent: true}
		end := telling(t, m, notes)
		m.Did(orders, jobs.StepMark, 50, time.Second, nil)
		time.Sleep(progressInterval)
		synctest.Wait()
		m.Did(orders, jobs.StepMark, 7, time.Second, nil)
		time.Sleep(progressInterval)
		synctest.Wait()
		m.Left()
		notes.set(func(n *notebook) { n.silent = false })
		time.Sleep(progressInterval)
		end()
		counted, last := int64(0), time.Time{}
		for _, p := range notes.list { // as the database counts
			if p.Job == orders.Job && p.Number == orders.Number && !p.ProgressAt.Equal(last) {
				counted, last = counted+p.Done, p.ProgressAt
			}
		}
		if counted != 57 {
			t.Errorf("counted %d rows of 57: %+v", counted, notes.list)
		}
	})
}

// A history that cannot be written does not cost the last note of progress.
func TestTellWithoutHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, notes := newMonitor(), &notebook{denied: true}
		end := telling(t, m, notes)
		m.Did(orders, jobs.StepMark, 5, time.Second, nil)
		m.Passed(orders, jobs.Outcome{Fetched: 5, Done: 5}, nil)
		time.Sleep(progressInterval)
		synctest.Wait()
		notes.told(orders)
		m.Did(orders, jobs.StepMark, 2, time.Second, nil)
		end()
		if got, want := notes.told(orders), []string{`2 done, 0/s, pass 5/0, ""`}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}
