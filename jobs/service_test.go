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

// registry is an Ownership in memory for one instance at a time; the test says what a tick returns.
type registry struct {
	mu       sync.Mutex
	state    JobState
	down     bool          // nothing answers
	slow     time.Duration // what Join takes
	joined   int
	released []Owned
	left     int
}

var errDown = errors.New("database down")

func (r *registry) Join(context.Context) (Instance, error) {
	time.Sleep(r.slow)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, errDown
	}
	r.joined++
	return r, nil
}

func (r *registry) Beat(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	return nil
}

func (r *registry) Tick(_ context.Context, stopping bool) (Tick, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return Tick{}, errDown
	}
	state := r.state
	state.Owned = nil
	for _, o := range r.state.Owned {
		o.GiveBack = o.GiveBack || stopping
		state.Owned = append(state.Owned, o)
	}
	return Tick{Jobs: []JobState{state}}, nil
}

func (r *registry) Release(_ context.Context, _ string, workers []Owned) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = append(r.released, workers...)
	r.state.Owned = nil
	return nil
}

func (r *registry) Leave(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left++
	return nil
}

func (r *registry) joins() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.joined
}

func (r *registry) set(change func(*registry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// counters are a worker's parts that only count.
type counters struct {
	mu                         sync.Mutex
	fetched, published, marked int
	markDown, sends            bool
}

func (c *counters) Fetch(_ context.Context, _ int64) (Batch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetched++
	if !c.sends {
		return Batch{}, nil
	}
	return Batch{Rows: []Row{{ID: int64(c.fetched), Payload: []byte("p")}}}, nil
}

func (c *counters) MarkDone(_ context.Context, ids []int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.markDown {
		return errDown
	}
	c.marked += len(ids)
	return nil
}

func (c *counters) Due(context.Context, int64) (Batch, int, error)  { return Batch{}, 0, nil }
func (c *counters) Park(context.Context, []Failure) error           { return nil }
func (c *counters) Settle(context.Context, []int64) error           { return nil }
func (c *counters) Connect(context.Context) (Recall, error)         { return Recall{}, nil }
func (c *counters) Forget(context.Context) error                    { return nil }
func (c *counters) Pending(context.Context, []int64) (Batch, error) { return Batch{}, nil }
func (c *counters) Atomic() bool                                    { return true }
func (c *counters) Close() error                                    { return nil }
func (c *counters) Publish(ctx context.Context, messages []Message, _ []int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return &PublishError{Fault: FaultConnection, Err: ctx.Err()}
	}
	c.published += len(messages)
	return nil
}

func (c *counters) passes() int { return c.number(func() int { return c.fetched }) }

func (c *counters) number(get func() int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return get()
}

func (c *counters) set(change func(*counters)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// serveTest runs a service on fakes, in fake time. stop ends it and waits.
func serveTest(t *testing.T, schedule Schedule, r *registry, change ...func(*ServiceConfig)) (c *counters, stop func()) {
	t.Helper()
	c = &counters{}
	job := validJob()
	job.Schedule = schedule
	newWorker := func(job *Job, owned Owned, lease *Lease) (*Worker, error) {
		return NewWorker(WorkerConfig{
			Job: job, Shard: owned.Shard, Rows: c, Failures: c, Publisher: c, Lease: lease, Log: zerolog.Nop(), Grace: 5 * time.Second,
		})
	}
	config := ServiceConfig{
		Jobs: []*Job{job}, Ownership: r, NewWorker: newWorker, Timing: DefaultTiming(), Farewell: time.Second, Log: zerolog.Nop(),
	}
	for _, f := range change {
		f(&config)
	}
	s, err := NewService(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Run(ctx) }() // stop waits for it
	return c, func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// rarely is a schedule whose own passes do not come up in a test.
var rarely = Schedule{Cron: "0 0 1 1 *"}

func owning(unfinished bool) JobState {
	return JobState{Workers: 1, Owned: []Owned{{Shard: Shard{Of: 1, Epoch: 7}, Rest: Rest{Unfinished: unfinished}}}}
}

// A Join that took nearly all of the trusted time is followed by a heartbeat at once: the membership lasts.
func TestSlowJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{state: owning(true), slow: DefaultTiming().trusted() - time.Millisecond}
		_, stop := serveTest(t, rarely, r)
		time.Sleep(time.Minute)
		if n := r.joins(); n != 1 {
			t.Errorf("joined %d times", n)
		}
		stop()
	})
}

// By a cron expression a worker waits for its time, unless the last owner left a pass unfinished; a trigger counts.
func TestUnfinishedPassIsBegunAtOnce(t *testing.T) {
	for _, unfinished := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := &registry{state: owning(unfinished)}
			c, stop := serveTest(t, rarely, r)
			time.Sleep(10 * time.Second)
			if got := c.passes() > 0; got != unfinished {
				t.Errorf("unfinished %v: passed %v", unfinished, got)
			}
			before := c.passes()
			r.set(func(r *registry) { r.state.Triggered++ })
			time.Sleep(2 * time.Second)
			if c.passes() == before {
				t.Error("the trigger was not obeyed")
			}
			stop()
			if len(r.released) != 1 || r.released[0].Unfinished || r.left != 1 {
				t.Errorf("released %+v, left %d times", r.released, r.left)
			}
		})
	}
}

// A paused job keeps its owner and begins nothing.
func TestPausedJobRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{state: owning(false)}
		c, stop := serveTest(t, Schedule{Every: time.Second}, r)
		defer stop()
		time.Sleep(10 * time.Second)
		if c.passes() < 9 {
			t.Errorf("%d passes in 10 s", c.passes())
		}
		r.set(func(r *registry) { r.state.Paused = true })
		time.Sleep(2 * time.Second)
		before := c.passes()
		time.Sleep(10 * time.Second)
		if c.passes() != before {
			t.Errorf("paused: %d passes", c.passes()-before)
		}
		r.set(func(r *registry) { r.state.Paused = false })
		time.Sleep(2 * time.Second)
		if c.passes() == before {
			t.Error("did not go on")
		}
	})
}

// Without heartbeats nothing is sent after the trusted part of the lease; what is confirmed is marked as soon as it can
// be, and before the process joins again.
func TestNothingIsSentWithoutALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{state: owning(false)}
		c, stop := serveTest(t, Schedule{Every: time.Second}, r)
		defer stop()
		c.set(func(c *counters) { c.sends = true })
		time.Sleep(5 * time.Second)
		r.set(func(r *registry) { r.down = true })
		time.Sleep(DefaultTiming().trusted() - 2*DefaultTiming().Heartbeat)
		c.set(func(c *counters) { c.markDown = true })
		time.Sleep(2 * DefaultTiming().Heartbeat)
		before := c.number(func() int { return c.published })
		time.Sleep(time.Minute)
		if now := c.number(func() int { return c.published }); now != before || before == 0 {
			t.Errorf("%d messages before, %d after the end of the lease", before, now-before)
		}
		r.set(func(r *registry) { r.down = false })
		time.Sleep(time.Minute)
		if r.joins() != 1 {
			t.Error("joined again with confirmed rows that have no mark")
		}
		c.set(func(c *counters) { c.markDown = false; c.sends = false })
		time.Sleep(10 * time.Second)
		if marked := c.number(func() int { return c.marked }); marked != before || r.joins() != 2 {
			t.Errorf("%d of %d marked, joined %d times", marked, before, r.joins())
		}
	})
}

// A worker that runs here but belongs to somebody else costs the lease: what the instance believes is wrong.
func TestWorkerTakenAwayCostsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{state: owning(false)}
		_, stop := serveTest(t, Schedule{Every: time.Second}, r)
		time.Sleep(5 * time.Second)
		r.set(func(r *registry) { r.state.Owned = nil })
		time.Sleep(5 * time.Second)
		stop()
		if r.joins() != 2 {
			t.Errorf("joined %d times", r.joins())
		}
	})
}
