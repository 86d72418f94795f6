package jobs

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// looks is a Waiting of a test.
type looks struct {
	mu      sync.Mutex
	number  int
	waiting bool
	err     error
	slow    time.Duration
}

func (l *looks) look(context.Context, string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	time.Sleep(l.slow)
	return l.waiting, l.err
}

func (l *looks) set(waiting bool, err error, slow time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting, l.err, l.slow = waiting, err, slow
}

// While nothing waits, a worker passes only now and then; as soon as something does, or nobody knows, with every trigger.
func TestNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &looks{}
		c, stop := serveTest(t, Schedule{Every: time.Second}, &registry{state: owning(false)}, func(config *ServiceConfig) {
			config.Waiting = l.look
		})
		defer stop()
		passes := func(d time.Duration) int {
			before := c.passes()
			time.Sleep(d)
			return c.passes() - before
		}
		passes(10*time.Second + 500*time.Millisecond) // from here on between two ticks: none is at the instant of counting
		if n := passes(20 * maxIdle); n != 20 {
			t.Errorf("%d passes in 20 times %s", n, maxIdle)
		}
		for _, err := range []error{nil, errDown} {
			l.set(err == nil, err, 0)
			if n := passes(time.Minute); n != 60 {
				t.Errorf("%d passes in 60 s while rows wait (%v)", n, err)
			}
		}
	})
}

// A look that takes long is not repeated at once, and holds up nobody meanwhile.
func TestSlowLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &looks{slow: 100 * time.Millisecond}
		c, stop := serveTest(t, Schedule{Every: time.Second}, &registry{state: owning(false)}, func(config *ServiceConfig) {
			config.Waiting = l.look
		})
		time.Sleep(10 * time.Minute)
		stop()
		if l.number < 60 || l.number > 600/(lookRest/10)+1 || c.passes() < 600-l.number-1 {
			t.Errorf("%d looks of %s and %d passes in 10 minutes", l.number, l.slow, c.passes())
		}
	})
}
