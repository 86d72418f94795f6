package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// testTiming has a lease that no test outlasts, however busy the machine: where one is to end, the test ends it.
var testTiming = jobs.Timing{Lease: 10 * time.Minute, Heartbeat: time.Second, Margin: time.Minute, Tick: 10 * time.Millisecond}

// fleet is several instances of one job on one database, driven step by step.
type fleet struct {
	*fixture
	job *jobs.Job
}

func newFleet(t testing.TB, workers int) *fleet {
	t.Helper()
	job := outboxJob()
	job.Workers = workers
	return &fleet{newFixture(t), job}
}

// member is an instance and what it was told last.
type member struct {
	jobs.Instance
	f    *fleet
	last jobs.JobState
}

// start is what a process does at its start.
func (f *fleet) start(change ...func(*store.OwnershipConfig)) *member {
	f.t.Helper()
	cfg := store.OwnershipConfig{Jobs: []*jobs.Job{f.job}, Timing: testTiming, Version: "test"}
	for _, c := range change {
		c(&cfg)
	}
	ownership, err := f.NewOwnership(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	instance, err := ownership.Join(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = instance.Leave(context.Background()) }) // the test may have left, or taken the database
	return &member{Instance: instance, f: f}
}

// stating starts with a number of workers that was asked for.
func stating(workers int) func(*store.OwnershipConfig) {
	return func(cfg *store.OwnershipConfig) {
		job := *cfg.Jobs[0]
		job.Workers, job.Stated = workers, true
		cfg.Jobs = []*jobs.Job{&job}
	}
}

// step ticks, and releases at once what is to be given back.
func (m *member) step() jobs.JobState {
	m.f.t.Helper()
	tick, err := m.Tick(m.f.t.Context(), false)
	if err != nil {
		m.f.t.Fatal(err)
	}
	m.last = tick.Jobs[0]
	m.release(m.last.Owned)
	return m.last
}

func (m *member) release(owned []jobs.Owned) {
	m.f.t.Helper()
	back := slices.DeleteFunc(slices.Clone(owned), func(o jobs.Owned) bool { return !o.GiveBack })
	if len(back) == 0 {
		return
	}
	if err := m.Release(m.f.t.Context(), m.f.job.Name, back); err != nil {
		m.f.t.Fatal(err)
	}
}

// settle steps all members until nobody has anything to give back or to take, and returns how many rounds that took.
func (f *fleet) settle(members ...*member) int {
	f.t.Helper()
	f.exec("update modulo.instances set started_at = started_at - interval '1 minute'")
	for round := range 10 {
		soon := false
		for _, m := range members {
			tick, err := m.Tick(f.t.Context(), false)
			if err != nil {
				f.t.Fatal(err)
			}
			m.last = tick.Jobs[0]
			m.release(m.last.Owned)
			soon = soon || tick.Soon
		}
		if !soon {
			return round
		}
	}
	f.t.Fatal("ownership does not settle")
	return 0
}

func (f *fleet) owned(members ...*member) (counts []int) {
	for _, m := range members {
		counts = append(counts, len(m.last.Owned))
	}
	slices.Sort(counts)
	return counts
}

func (f *fleet) control() store.Control {
	f.t.Helper()
	c, err := f.Control(f.t.Context(), f.job.Name)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fleet) expire(m *member) {
	f.exec("update modulo.instances set expires_at = clock_timestamp() where instance = any(select owner from modulo.workers where epoch = $1)",
		m.last.Owned[0].Epoch)
}

// One instance has all workers, three share them, two take over what the third leaves: never more than one apart,
// and two looks are enough.
func TestPlacementFollowsInstances(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 8)
	a := f.start()
	if got := len(a.step().Owned); got != 8 {
		t.Fatalf("the only instance owns %d of 8", got)
	}
	b, c := f.start(), f.start()
	if got := len(b.step().Owned); got != 0 {
		t.Errorf("a newcomer owns %d workers of a live instance", got)
	}
	if rounds := f.settle(a, b, c); rounds > 2 || !slices.Equal(f.owned(a, b, c), []int{2, 3, 3}) {
		t.Errorf("three instances own %v after %d rounds", f.owned(a, b, c), rounds)
	}
	kept := slices.Clone(b.last.Owned)
	if f.settle(a, b, c); !slices.Equal(kept, b.last.Owned) {
		t.Errorf("workers moved without need: %v, %v", kept, b.last.Owned)
	}
	if _, err := c.Tick(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rounds := f.settle(a, b); rounds > 2 || !slices.Equal(f.owned(a, b), []int{4, 4}) {
		t.Errorf("two instances own %v after %d rounds", f.owned(a, b), rounds)
	}
}

func TestMaxWorkersIsKept(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 8)
	atMost := func(n int) func(*store.OwnershipConfig) {
		return func(cfg *store.OwnershipConfig) { cfg.MaxWorkers = n }
	}
	a, b := f.start(atMost(2)), f.start(atMost(3))
	f.settle(a, b)
	if got := f.owned(a, b); !slices.Equal(got, []int{2, 3}) || a.last.Unowned != 3 {
		t.Errorf("own %v, %d without an owner", got, a.last.Unowned)
	}
	c := f.start()
	if f.settle(a, b, c); !slices.Equal(f.owned(a, b, c), []int{2, 3, 3}) {
		t.Errorf("own %v", f.owned(a, b, c))
	}
}

// A dead instance is taken over when its lease is over, not before, and cannot come back.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	a, b := f.start(), f.start()
	f.settle(a, b)
	f.expire(a)
	tick, err := b.Tick(t.Context(), false)
	if err != nil || len(tick.Dead) != 1 || len(tick.Jobs[0].Owned) != 4 {
		t.Fatalf("take-over: %+v, %v", tick, err)
	}
	for _, o := range tick.Jobs[0].Owned {
		before := slices.IndexFunc(a.last.Owned, func(p jobs.Owned) bool { return p.Number == o.Number })
		if before >= 0 && (o.Epoch <= a.last.Owned[before].Epoch || !o.Unfinished) {
			t.Errorf("worker %d: epoch %d after %d, unfinished %v", o.Number, o.Epoch, a.last.Owned[before].Epoch, o.Unfinished)
		}
	}
	if err := a.Beat(t.Context()); !errors.Is(err, jobs.ErrFenced) {
		t.Errorf("heartbeat of a dead instance: %v", err)
	}
	if _, err := a.Tick(t.Context(), false); !errors.Is(err, jobs.ErrFenced) {
		t.Errorf("tick of a dead instance: %v", err)
	}
	if err := a.Release(t.Context(), f.job.Name, a.last.Owned); err != nil || f.control().Owned() != 4 {
		t.Errorf("release of a dead instance: %v, %d owned", err, f.control().Owned())
	}
}

// A failure record of an earlier owner is refused; its done mark is not.
func TestParkIsFenced(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.exec("insert into modulo.outbox (payload) values ('a'), ('b')")
	a := f.start()
	old := f.source(f.job).Worker(a.step().Owned[0].Shard)
	failure := jobs.Failure{RowID: 1, EventID: "e", Attempts: 1, Class: jobs.ClassRefused}
	if err := old.Park(t.Context(), []jobs.Failure{failure}); err != nil {
		t.Fatal(err)
	}
	f.expire(a)
	b := f.start()
	current := f.source(f.job).Worker(b.step().Owned[0].Shard)
	failure.RowID = 2
	if err := old.Park(t.Context(), []jobs.Failure{failure}); !errors.Is(err, jobs.ErrFenced) {
		t.Errorf("park of an earlier owner: %v", err)
	}
	if n := column[int64](f.fixture, "select count(*) from modulo.failures")[0]; n != 1 {
		t.Errorf("%d records", n)
	}
	if err := errors.Join(old.MarkDone(t.Context(), []int64{2}), current.Park(t.Context(), []jobs.Failure{failure})); err != nil {
		t.Error(err)
	}
	if done := column[int64](f.fixture, "select id from modulo.outbox where done_at is not null"); !slices.Equal(done, []int64{2}) {
		t.Errorf("done: %v", done)
	}
}

// Two want another K at once: one gets it, the other is told.
func TestTwoChangesAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	a := f.start()
	a.step()
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, k := range []int{5, 7} {
		both.Go(func() {
			_, errs[i] = f.As(operator).ChangeWorkers(t.Context(), store.WorkersChange{Job: f.job.Name, Workers: k})
		})
	}
	both.Wait()
	told := slices.IndexFunc(errs, func(err error) bool { _, ok := errors.AsType[*store.ChangingError](err); return ok })
	if told < 0 || errs[1-told] != nil {
		t.Fatalf("got %v", errs)
	}
	if aborted, err := f.As(operator).AbortChange(t.Context(), store.WorkersChange{Job: f.job.Name}); !aborted || err != nil {
		t.Errorf("abort: %v, %v", aborted, err)
	}
	if state := a.step(); state.Workers != 3 || len(state.Owned) != 3 || state.Owned[0].GiveBack {
		t.Errorf("after the abort: %+v", state)
	}
}

// Which K is in force: a stated number changes it only where it differs from the one stated last.
func TestStatedWorkers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 5)
	inForce := func(what string, want int, members ...*member) {
		t.Helper()
		f.settle(members...)
		if c := f.control(); c.Workers != want || c.Next != 0 || c.Owned() != want {
			t.Errorf("%s: %d workers in force, %d owned, want %d", what, c.Workers, c.Owned(), want)
		}
	}
	a := f.start(stating(5))
	inForce("first start", 5, a)
	if _, err := f.As(operator).ChangeWorkers(t.Context(), store.WorkersChange{Job: "outbox", Workers: 8}); err != nil {
		t.Fatal(err)
	}
	inForce("set live", 8, a)
	b := f.start(stating(5))
	inForce("the same stated again", 8, a, b)
	c := f.start()
	inForce("nothing stated", 8, a, b, c)
	d := f.start(stating(6))
	inForce("another one stated", 6, a, b, c, d)
	e := f.start(stating(6))
	inForce("a rolling update goes on", 6, a, b, c, d, e)
	// While a change is under way, another wish waits for its turn.
	if _, err := f.As(operator).ChangeWorkers(t.Context(), store.WorkersChange{Job: "outbox", Workers: 3}); err != nil {
		t.Fatal(err)
	}
	g := f.start(stating(7))
	if state := g.step(); state.Next != 3 {
		t.Errorf("a stated number replaced a change under way: %+v", state)
	}
	inForce("stated after the change", 7, a, b, c, d, e, g)
}

func TestPauseAndTriggerReachEverybody(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a, b := f.start(), f.start()
	f.settle(a, b)
	for _, paused := range []bool{true, false} {
		if ok, err := f.As(operator).Pause(t.Context(), "outbox", paused); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if a.step().Paused != paused || b.step().Paused != paused || f.control().Paused != paused {
			t.Errorf("paused: want %v", paused)
		}
	}
	before := a.last.Triggered
	if ok, err := f.As(operator).Trigger(t.Context(), "outbox"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if a.step().Triggered != before+1 || b.step().Triggered != before+1 {
		t.Error("the trigger did not reach everybody")
	}
	if _, err := f.Control(t.Context(), "unknown"); !errors.Is(err, store.ErrNoJob) {
		t.Errorf("unknown job: %v", err)
	}
}

// An instance alone gets all workers or the names of those that have them.
func TestAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	alone := func(cfg *store.OwnershipConfig) { cfg.Alone = true }
	a := f.start(alone)
	if got := len(a.step().Owned); got != 3 {
		t.Fatalf("owns %d of 3", got)
	}
	b := f.start(alone)
	_, err := b.Tick(t.Context(), false)
	if owned, ok := errors.AsType[*jobs.OwnedError](err); !ok || len(owned.Owners) != 1 {
		t.Errorf("the second one: %v", err)
	}
}

// After a fail-over the database may have forgotten who owns what: no worker starts for the time of a lease.
func TestHoldAfterFailOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a := f.start()
	a.step()
	f.exec("update modulo.jobs set timeline = timeline + 1") // as if the timeline of the server were another one
	tick, err := a.Tick(t.Context(), false)
	if err != nil || !tick.Moved || !tick.Jobs[0].Hold || len(tick.Jobs[0].Owned) != 2 {
		t.Errorf("after the fail-over: %+v, %v", tick, err)
	}
	b := f.start()
	f.exec("delete from modulo.instances where instance = (select max(owner::text)::uuid from modulo.workers)")
	if state := b.step(); len(state.Owned) != 0 || !state.Hold {
		t.Errorf("a worker got an owner during the hold: %+v", state)
	}
	f.exec("update modulo.jobs set hold_until = clock_timestamp()")
	if state := b.step(); len(state.Owned) != 2 {
		t.Errorf("after the hold: %+v", state)
	}
}

// Heartbeats leave the table as small as it is: every update stays on its page and in its index entry.
func TestHeartbeatsAreHOT(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.start()
	for range 200 {
		if err := a.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Leave(t.Context()); err != nil { // a session tells its statistics when it ends
		t.Fatal(err)
	}
	const statsSQL = `select n_tup_upd - n_tup_hot_upd from pg_stat_user_tables where relname = 'instances' and n_tup_upd >= 200`
	within(t, "statistics", func() bool { return len(column[int64](f.fixture, statsSQL)) == 1 })
	if cold := column[int64](f.fixture, statsSQL)[0]; cold > 4 {
		t.Errorf("%d of 200 heartbeats were not HOT", cold)
	}
	if size := column[int64](f.fixture, "select pg_relation_size('modulo.instances')")[0]; size > 64<<10 {
		t.Errorf("the table has %s", fmt.Sprint(size))
	}
}

// Behind a pooler there are no prepared statements: everything works without them.
func TestOwnershipWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol"} {
		f := newFleet(t, 4)
		f.DB = open(t, store.Config{URL: f.url + "&default_query_exec_mode=" + mode})
		f.exec("insert into modulo.outbox (payload) values ('a')")
		a, b := f.start(stating(4)), f.start()
		f.settle(a, b)
		if err := a.Beat(t.Context()); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		worker := f.source(f.job).Worker(a.last.Owned[0].Shard)
		if err := worker.Park(t.Context(), []jobs.Failure{{RowID: 1, EventID: "e", Class: jobs.ClassRefused}}); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if _, err := f.As(operator).ChangeWorkers(t.Context(), store.WorkersChange{Job: "outbox", Workers: 7}); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if f.settle(a, b); f.control().Owned() != 7 {
			t.Errorf("%s: %+v", mode, f.control())
		}
	}
}
