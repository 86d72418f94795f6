package jobs

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestRetryDelays(t *testing.T) {
	t.Parallel()
	policy := RetryPolicy{MaxAttempts: 8, MinBackoff: time.Second, MaxBackoff: 10 * time.Second}
	bounds := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second}
	for i := range policy.MaxAttempts - 1 {
		least, most := min(bounds[i], policy.MaxBackoff/2), bounds[i+1]
		low, high := most, time.Duration(0)
		for range 1000 {
			delay := policy.Delay(i + 1)
			low, high = min(low, delay), max(high, delay)
		}
		if low < least || high > most {
			t.Errorf("attempt %d: from %s to %s, want %s to %s", i+1, low, high, least, most)
		}
		if high-low < (most-least)/2 {
			t.Errorf("attempt %d: from %s to %s: no jitter", i+1, low, high)
		}
	}
	for _, attempts := range []int{8, 9, 1 << 40} {
		if delay := policy.Delay(attempts); delay != 0 {
			t.Errorf("attempt %d: %s, want 0: they are used up", attempts, delay)
		}
	}
}

// TestRetryDelayKeepsItsRange: whatever the range and the attempt. 0 would mean that the attempts are used up.
func TestRetryDelayKeepsItsRange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := RetryPolicy{MaxAttempts: math.MaxInt}
		policy.MinBackoff = time.Duration(rapid.Int64Range(1, math.MaxInt64-1).Draw(t, "min"))
		policy.MaxBackoff = time.Duration(rapid.Int64Range(int64(policy.MinBackoff), math.MaxInt64-1).Draw(t, "max"))
		attempts := rapid.IntRange(0, math.MaxInt-1).Draw(t, "attempts")
		if delay := policy.Delay(attempts); delay < policy.MinBackoff || delay > policy.MaxBackoff {
			t.Fatalf("%+v, attempt %d: %s", policy, attempts, delay)
		}
	})
}

func TestBackoffStartsAgainAfterReset(t *testing.T) {
	t.Parallel()
	if maxPause != 3*time.Second {
		t.Errorf("maxPause is %s: runbook and guarantees promise that work goes on 3 seconds after an outage", maxPause)
	}
	b := backoff{min: minPause, max: maxPause}
	for range 20 {
		if d := b.next(); d > maxPause {
			t.Fatalf("pause of %s", d)
		}
	}
	if d := b.next(); d < maxPause/2 {
		t.Errorf("pause of %s after many faults", d)
	}
	b.reset()
	if d := b.next(); d > minPause {
		t.Errorf("first pause after a reset: %s", d)
	}
}

func TestOutlive(t *testing.T) {
	t.Parallel()
	const grace = time.Minute
	cause := errors.New("told to stop")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancelCause(context.Background())
		finish, cancel := outlive(ctx, grace)
		defer cancel()
		time.Sleep(time.Hour)
		if finish.Err() != nil {
			t.Fatal("ended before it was told to")
		}
		asked := time.Now()
		stop(cause)
		<-finish.Done()
		if lasted := time.Since(asked); lasted != grace || context.Cause(finish) != cause {
			t.Errorf("lasted %s, cause %v", lasted, context.Cause(finish))
		}
	})
}

// TestOutliveLeavesNothing: synctest waits for every goroutine, and would find one that sits out the grace by the clock.
func TestOutliveLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		for range 2 {
			ctx, stop := context.WithCancel(context.Background())
			finish, cancel := outlive(ctx, time.Hour)
			stop()
			synctest.Wait()
			cancel()
			<-finish.Done()
		}
		synctest.Wait()
		if waited := time.Since(begun); waited > 0 {
			t.Errorf("waited for %s", waited)
		}
	})
}
