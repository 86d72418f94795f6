package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

// changing is the Ownership of two jobs. The first is at rest. Of the second K changes, and an owner that died has left
// something unsettled. Only the tick that takes a worker tells what its last owner left.
type changing struct {
	*registry
	ticks    int
	released []string
	silent   string // the call that nobody answers
}

func (c *changing) Join(context.Context) (Instance, error) { return c, nil }

// answer is nil where there is one.
func (c *changing) answer(ctx context.Context, call string) error {
	if call != c.silent {
		return nil
	}
	if pause(ctx, time.Hour) {
		return errors.New(call + " waited for an hour")
	}
	return ctx.Err()
}

func (c *changing) Tick(ctx context.Context, _ bool) (Tick, error) {
	if c.ticks++; c.ticks > 10 {
		return Tick{}, errors.New("it ticks for ever")
	}
	if err := c.answer(ctx, "tick"); err != nil {
		return Tick{}, err
	}
	taken := Rest{Unfinished: true, Unsettled: true}
	resting := JobState{Job: "resting", Workers: 1, Owned: []Owned{{Shard: Shard{Of: 1, Epoch: 7}, Rest: taken}}}
	if c.ticks == 1 {
		resting.Owned[0].Rest = Rest{}
	}
	changed := JobState{Job: "changed", Workers: 1, Next: 2, Owned: []Owned{{Shard: Shard{Of: 1, Epoch: 8}, Rest: taken, Open: true, GiveBack: true}}}
	if len(c.released) > 0 {
		changed = JobState{Job: "changed", Workers: 2, Owned: []Owned{{Shard: Shard{Of: 2, Epoch: 9}}, {Shard: Shard{Number: 1, Of: 2, Epoch: 10}}}}
	}
	return Tick{Jobs: []JobState{resting, changed}}, nil
}

func (c *changing) Release(ctx context.Context, job string, workers []Owned) error {
	for _, o := range workers {
		c.released = append(c.released, fmt.Sprintf("%s %d/%d %+v", job, o.Number, o.Of, o.Rest))
	}
	return c.answer(ctx, "release")
}

// onceOfTwo is a service of the two jobs; started gets the workers as they begin.
func onceOfTwo(t *testing.T, c *changing) (s *Service, started func() []string) {
	t.Helper()
	var mu sync.Mutex
	var names []string
	c.registry = &registry{}
	rows := &counters{}
	resting, changed := validJob(), validJob()
	resting.Name, changed.Name = "resting", "changed"
	s, err := NewService(ServiceConfig{
		Jobs: []*Job{resting, changed}, Ownership: c, Timing: DefaultTiming(), Farewell: time.Second, Log: zerolog.Nop(),
		NewWorker: func(job *Job, owned Owned, lease *Lease) (*Worker, error) {
			mu.Lock()
			defer mu.Unlock()
			names = append(names, fmt.Sprintf("%s %d/%d %v", job.Name, owned.Number, owned.Of, owned.Unsettled))
			return NewWorker(WorkerConfig{
				Job: job, Shard: owned.Shard, Rows: rows, Failures: rows, Publisher: rows, Lease: lease, Unsettled: owned.Unsettled, Log: zerolog.Nop(),
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, func() []string { slices.Sort(names); return names }
}

// A job at rest does not keep Once from settling another one whose K changes, and what its own last owner left is not
// forgotten meanwhile.
func TestOnceEndsTheChangeOfAnotherJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &changing{}
		s, started := onceOfTwo(t, c)
		if _, err := s.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		want(t, "started", started(), "[changed 0/1 true changed 0/2 false changed 1/2 false resting 0/1 false]")
		want(t, "released", strings.Join(c.released, ", "), "changed 0/1 {Unfinished:true Unsettled:false}, resting 0/1 {Unfinished:false Unsettled:false}, "+
			"changed 0/2 {Unfinished:false Unsettled:false}, changed 1/2 {Unfinished:false Unsettled:false}")
	})
}

// A database that no longer answers ends Once within the time of a lease, although heartbeats on another connection get
// through, or do not.
func TestOnceDoesNotWaitForASilentDatabase(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"tick", "release"} {
		for _, down := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c := &changing{silent: call}
				s, _ := onceOfTwo(t, c)
				c.down = down
				began := time.Now()
				_, err := s.Once(t.Context())
				if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > DefaultTiming().Lease {
					t.Errorf("%s, heartbeats fail: %v: %v after %s", call, down, err, took)
				}
			})
		}
	}
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
