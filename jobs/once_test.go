package jobs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// crowded is a worker's rows that count how many workers fetch at the same time.
type crowded struct {
	*counters
	now, most atomic.Int64
}

func (c *crowded) Fetch(ctx context.Context, from int64) (Batch, error) {
	now := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
	}
	if !pause(ctx, time.Second) {
		return Batch{}, ctx.Err()
	}
	return c.counters.Fetch(ctx, from)
}

// onceOf is a service of five workers that drains so many of them at the same time.
func onceOf(t *testing.T, most int) (*Service, *crowded, *registry) {
	t.Helper()
	rows, r := &crowded{counters: &counters{}}, &registry{state: JobState{Workers: 5}}
	for n := range 5 {
		r.state.Owned = append(r.state.Owned, Owned{Shard: Shard{Number: n, Of: 5, Epoch: 7}, Rest: Rest{Unsettled: true}})
	}
	s, err := NewService(ServiceConfig{
		Jobs: []*Job{validJob()}, Ownership: r, Timing: DefaultTiming(), Farewell: time.Second, Log: zerolog.Nop(), OnceWorkers: most,
		NewWorker: func(job *Job, owned Owned, lease *Lease) (*Worker, error) {
			return NewWorker(WorkerConfig{
				Job: job, Shard: owned.Shard, Rows: rows, Failures: rows, Publisher: rows, Lease: lease, Log: zerolog.Nop(), Grace: time.Second,
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, rows, r
}

// Once drains every worker, with a bound so many at a time.
func TestOnceWorkersAtATime(t *testing.T) {
	for _, test := range []struct{ most, want int }{{0, 5}, {1, 1}, {2, 2}, {9, 5}} {
		synctest.Test(t, func(t *testing.T) {
			s, rows, r := onceOf(t, test.most)
			if _, err := s.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			if most := rows.most.Load(); most != int64(test.want) || rows.passes() != 5 || len(r.released) != 5 {
				t.Errorf("bound %d: %d at a time, want %d; %d passes, %d released", test.most, most, test.want, rows.passes(), len(r.released))
			}
		})
	}
}

// A worker that had no turn before the stop leaves what its last owner left.
func TestOnceIsStoppedBeforeAllHadTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rows, r := onceOf(t, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := s.Once(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || rows.passes() > 2 || len(r.released) != 5 {
			t.Fatalf("%v, %d passes, %d released", err, rows.passes(), len(r.released))
		}
		left := 0
		for _, owned := range r.released {
			if owned.Unsettled {
				left++
			}
		}
		if left < 3 {
			t.Errorf("%d workers have something unsettled", left)
		}
	})
}
