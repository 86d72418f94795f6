package jobs

import (
	"context"
	"sync"
	"time"
)

// Lease is how long this process may act as the owner of its workers, by its own clocks. Once lost it stays lost. A nil
// Lease is never lost. Safe for concurrent use.
type Lease struct {
	mu     sync.Mutex
	until  time.Time
	timer  *time.Timer
	over   bool
	onLoss map[int]func()
	last   int // key in onLoss
}

func newLease(until time.Time) *Lease {
	l := &Lease{until: until, onLoss: map[int]func(){}}
	l.mu.Lock() // the timer of a lease that is over already fires at once
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(time.Until(until), func() { l.lost() })
	return l
}

// renew has no effect on a lease that is lost.
func (l *Lease) renew(until time.Time) {
	if l.lost() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.until = until
		l.timer.Reset(time.Until(until))
	}
}

// lost looks at the clocks: after a pause of the whole process the timer comes late. The wall clock counts as well,
// because the other one stands still while a machine sleeps.
func (l *Lease) lost() bool {
	l.mu.Lock()
	now := time.Now()
	over := l.over
	expired := !now.Before(l.until) || !now.Round(0).Before(l.until.Round(0))
	l.mu.Unlock()
	if expired && !over {
		l.lose()
	}
	return over || expired
}

// lose ends the lease and everything bound to it.
func (l *Lease) lose() {
	l.mu.Lock()
	l.over = true
	l.timer.Stop()
	bound := l.onLoss
	l.onLoss = nil
	l.mu.Unlock()
	for _, f := range bound {
		f()
	}
}

// Bind returns a context that also ends, with the cause ErrFenced, when the lease is lost. Its Err looks at the clock
// each time, so that asking it before a write keeps a process that was paused from writing.
func (l *Lease) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	if l == nil {
		return context.WithCancel(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	key := l.last
	l.last++
	if l.over {
		cancel(ErrFenced)
	} else {
		l.onLoss[key] = func() { cancel(ErrFenced) }
	}
	l.mu.Unlock()
	return leased{ctx, l}, func() {
		l.mu.Lock()
		delete(l.onLoss, key)
		l.mu.Unlock()
		cancel(context.Canceled)
	}
}

// leased is a context under a lease.
type leased struct {
	context.Context
	lease *Lease
}

func (c leased) Err() error {
	c.lease.lost()
	return c.Context.Err()
}
