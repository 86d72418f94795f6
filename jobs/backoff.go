package jobs

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff paces repeats after a fault: it doubles from min to max; each pause is drawn from its upper half, so that
// workers which failed together do not come back together.
type backoff struct {
	min, max time.Duration
	current  time.Duration
}

func (b *backoff) next() time.Duration {
	b.current = min(max(2*b.current, b.min), b.max)
	return b.current - rand.N(b.current/2+1)
}

func (b *backoff) reset() { b.current = 0 }

// Delay is the pause before the next attempt of a row that failed attempts times; 0 when its attempts are used up. Its bounds
// double with each attempt, and are never outside of the policy's.
func (p RetryPolicy) Delay(attempts int) time.Duration {
	if attempts >= p.MaxAttempts {
		return 0
	}
	high := p.MinBackoff
	for range attempts {
		if high > p.MaxBackoff/2 {
			high = p.MaxBackoff
			break
		}
		high *= 2
	}
	low := max(p.MinBackoff, high/2)
	return low + rand.N(high-low+1)
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// outlive returns a context that ends grace after ctx does: what is in flight when a stop is asked for is finished
// under it.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	finish, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if pause(finish, grace) {
			cancel(context.Cause(ctx))
		}
	})
	return finish, func() {
		stop()
		cancel(context.Canceled)
	}
}
