package dashboard

import (
	"context"
	"errors"
	"strconv"
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

// TestSharedMemory: whoever asks a slow database for ever other things, whose answers are fresh for long, does not fill the
// memory; the oldest answer makes room, and none of those that are being read.
func TestSharedMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s shared[string]
		ask := func(key string, took time.Duration) {
			s.get(t.Context(), key, func(context.Context) (string, error) { time.Sleep(took); return key, nil })
		}
		var reader sync.WaitGroup
		reader.Go(func() { ask("under way", readTimeout-time.Millisecond) })
		defer reader.Wait()
		synctest.Wait()
		for n := range 3 * maxKept {
			ask("row "+strconv.Itoa(n), time.Second/maxKept)
			if len(s.kept) > maxKept {
				t.Fatalf("%d answers are kept, at most %d should be", len(s.kept), maxKept)
			}
		}
		for key, kept := range map[string]bool{"under way": true, "row " + strconv.Itoa(3*maxKept-1): true, "row " + strconv.Itoa(2*maxKept+1): true, "row " + strconv.Itoa(2*maxKept): false} {
			if (s.kept[key] != nil) != kept {
				t.Errorf("%s is kept: %v", key, !kept)
			}
		}
		var crowd sync.WaitGroup
		for n := range 2 * maxKept {
			crowd.Go(func() { ask("at once "+strconv.Itoa(n), time.Second) })
		}
		crowd.Wait()
		if ask("the next", time.Second); len(s.kept) > maxKept {
			t.Errorf("after a crowd %d answers are kept", len(s.kept))
		}
	})
}
