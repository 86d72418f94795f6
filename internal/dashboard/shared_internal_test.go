package dashboard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestShared: any number of readers cost one reading per moment, a slow one is asked for less often, and what was known
// stays known when the database goes away.
func TestShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s shared[int64]
		var reads atomic.Int64
		var failing error
		read := func(context.Context) (int64, error) {
			time.Sleep(10 * time.Millisecond) // of the bubble's clock
			return reads.Add(1), failing
		}
		crowd := func() {
			var readers sync.WaitGroup
			for range 20 {
				readers.Go(func() {
					if got := s.get(t.Context(), "overview", read); got.Value != reads.Load() && failing == nil {
						t.Errorf("read %d, the last reading is %d", got.Value, reads.Load())
					}
				})
			}
			readers.Wait()
		}
		for n := range int64(5) {
			time.Sleep(untilRefresh(time.Now()))
			crowd()
			if got := reads.Load(); got != n+1 {
				t.Fatalf("%d readings after %d moments", got, n+1)
			}
		}
		s.forget()
		crowd()
		failing = errors.New("gone")
		time.Sleep(refresh)
		if got := s.get(t.Context(), "overview", read); got.Err == nil || got.Value != 6 || time.Since(got.At) < refresh {
			t.Errorf("without the database: %+v", got)
		}
		slow := func(context.Context) (int64, error) { time.Sleep(time.Second); return reads.Add(1), nil }
		s.get(t.Context(), "groups", slow)
		before := reads.Load()
		time.Sleep((rest - 2) * time.Second)
		if s.get(t.Context(), "groups", slow); reads.Load() != before {
			t.Error("a slow answer was read again too soon")
		}
	})
}
