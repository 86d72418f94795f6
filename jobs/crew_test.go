package jobs

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// serviceOf is a service whose workers have a world each.
func serviceOf(t *testing.T, job *Job, worlds []*world) *Service {
	t.Helper()
	epoch := int64(0)
	newEpoch := func(context.Context) (int64, error) { epoch++; return epoch, nil }
	s, err := NewService(t.Context(), []*Job{job}, newEpoch, func(_ context.Context, _ *Job, shard Shard) (*Worker, error) {
		if shard.Epoch != int64(shard.Number+1) {
			t.Errorf("shard %+v", shard)
		}
		return worlds[shard.Number].worker(t, zerolog.Nop()), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestServiceTriggersEveryWorker: passes of one worker never overlap, however long they take, and several triggers during
// a pass make one more. A service leaves nothing behind, and a second one can follow.
func TestServiceTriggersEveryWorker(t *testing.T) {
	t.Parallel()
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			job := validJob()
			job.Workers, job.Schedule = 3, Schedule{Every: 20 * time.Millisecond}
			passes, takes := make([]int, 3), []time.Duration{0, 30 * time.Millisecond, 10 * time.Second}
			worlds := make([]*world, 3)
			var lock sync.Mutex
			for i := range worlds {
				worlds[i] = worldOf(2, goods(5)...)
				passing := false
				worlds[i].hook = func(_ context.Context, stage string, _ []int64) error {
					if stage != "connect" {
						return nil
					}
					lock.Lock()
					if passing {
						t.Error("two passes at a time")
					}
					passing = true
					passes[i]++
					lock.Unlock()
					time.Sleep(takes[i])
					lock.Lock()
					passing = false
					lock.Unlock()
					return nil
				}
			}
			s := serviceOf(t, job, worlds)
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
			for _, w := range worlds[:2] {
				want(t, "delivered", w.delivered, "[1 2 3 4 5]")
			}
			if passes[0] < 45 || passes[1] < 25 || passes[1] > 35 || passes[2] != 1 {
				t.Errorf("passes in a second: %v", passes)
			}
		})
	}
}

// TestServiceWithABadSchedule does not begin, and leaves nothing behind.
func TestServiceWithABadSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		job := validJob()
		job.Schedule = Schedule{Cron: "never"}
		if err := serviceOf(t, job, []*world{worldOf(2)}).Run(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}

// TestOnceDrainsEveryWorker, and tells what came of it even beside an error.
func TestOnceDrainsEveryWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		job := validJob()
		job.Workers = 3
		worlds := []*world{worldOf(2, goods(5)...), worldOf(2, good, refused, good), worldOf(2, goods(4)...)}
		worlds[2].hook = func(_ context.Context, stage string, _ []int64) error {
			if stage == "connect" {
				return &ConnectError{Fault: FaultConnection, Err: errSim}
			}
			return nil
		}
		summaries, err := serviceOf(t, job, worlds).Once(t.Context())
		if !errors.Is(err, errSim) {
			t.Errorf("error %v", err)
		}
		sum := summaries[0]
		want(t, "summary", []any{sum.Job, sum.Workers, sum.Outcome.Done, sum.Outcome.Failed}, []any{"test", 3, 7, 1})
	})
}
