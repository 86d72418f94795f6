package jobs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A lease ends by its own timer, and takes everything that is bound to it along.
func TestLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLease(time.Now().Add(time.Second))
		bound, cancel := l.Bind(t.Context())
		defer cancel()
		time.Sleep(900 * time.Millisecond)
		l.renew(time.Now().Add(time.Second))
		time.Sleep(900 * time.Millisecond)
		if bound.Err() != nil {
			t.Fatal("ended although it was renewed")
		}
		<-bound.Done()
		if !errors.Is(context.Cause(bound), ErrFenced) || !l.lost() {
			t.Errorf("cause: %v, lost: %v", context.Cause(bound), l.lost())
		}
		l.renew(time.Now().Add(time.Hour))
		late, cancelLate := l.Bind(t.Context())
		defer cancelLate()
		if !l.lost() || late.Err() == nil {
			t.Error("a lost lease was revived")
		}
	})
}

// A lease that was over before it began, as after a slow Join, is a lost one like any other.
func TestLeaseThatIsOverAtOnce(t *testing.T) {
	t.Parallel()
	for range 5000 {
		bound, cancel := newLease(time.Now()).Bind(t.Context())
		<-bound.Done()
		if !errors.Is(context.Cause(bound), ErrFenced) {
			t.Fatal(context.Cause(bound))
		}
		cancel()
	}
}

// A process that was paused beyond its lease finds out by asking, before any timer of its has fired.
func TestLeaseIsLookedAtBeforeItsTimer(t *testing.T) {
	t.Parallel()
	for name, until := range map[string]time.Time{
		"monotonic clock": time.Now().Add(-time.Millisecond),
		"wall clock":      time.Now().Round(0).Add(-time.Millisecond), // as after a sleep of the machine
	} {
		l := newLease(time.Now().Add(time.Hour))
		bound, cancel := l.Bind(t.Context())
		defer cancel()
		l.mu.Lock()
		l.until = until // the timer does not know
		l.mu.Unlock()
		if bound.Err() == nil || !errors.Is(context.Cause(bound), ErrFenced) {
			t.Errorf("%s: not ended: %v", name, context.Cause(bound))
		}
	}
}

func TestNoLeaseIsNeverLost(t *testing.T) {
	t.Parallel()
	var l *Lease
	ctx, cancel := l.Bind(t.Context())
	if ctx.Err() != nil {
		t.Error("ended by itself")
	}
	if cancel(); ctx.Err() == nil {
		t.Error("not ended by cancel")
	}
}

func TestTimingFitsTogether(t *testing.T) {
	t.Parallel()
	if err := DefaultTiming().Check(); err != nil {
		t.Error(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		duration := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(-int64(time.Second), int64(30*time.Second)).Draw(t, name))
		}
		timing := Timing{Lease: duration("lease"), Heartbeat: duration("heartbeat"), Margin: duration("margin"), Tick: duration("tick")}
		if timing.Check() != nil {
			return
		}
		// A heartbeat that hangs for its whole time, and one more of the same kind, are survived.
		if timing.trusted() < 3*timing.Heartbeat || timing.Margin <= 0 || timing.Heartbeat <= 0 || timing.trusted() >= timing.Lease {
			t.Fatalf("accepted: %+v", timing)
		}
	})
}
