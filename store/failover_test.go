package store_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"
	"time"

	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// pair is a primary with our schema and its standby, with a store that knows both.
type pair struct {
	*fixture         // its conn is one to the primary
	primary, standby *local.Postgres
}

func newPair(t *testing.T) *pair {
	t.Helper()
	primary := testservers.OwnPostgres(t)
	if _, err := open(t, store.Config{URL: primary.URL("postgres")}).MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	standby := testservers.Standby(t, primary)
	url := testservers.Either(t, "postgres", primary, standby)
	f := &fixture{t: t, url: url, DB: open(t, store.Config{URL: url}), conn: testservers.Connect(t, primary.URL("postgres"))}
	return &pair{f, primary, standby}
}

// catchUp waits until the standby has everything.
func (p *pair) catchUp() {
	p.t.Helper()
	within(p.t, "the standby has everything", func() bool {
		return column[bool](p.fixture, "select coalesce(bool_and(replay_lsn >= pg_current_wal_lsn()), false) from pg_stat_replication")[0]
	})
}

// lag stops the standby once it has everything: what comes now is lost with the primary.
func (p *pair) lag() {
	p.t.Helper()
	p.catchUp()
	if err := p.standby.Stop(); err != nil {
		p.t.Fatal(err)
	}
}

// failOver kills the primary and promotes the standby.
func (p *pair) failOver() {
	p.t.Helper()
	p.primary.Kill()
	if err := p.standby.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.promote()
}

func (p *pair) promote() {
	p.t.Helper()
	if err := p.standby.Promote(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.conn = testservers.Connect(p.t, p.standby.URL("postgres"))
}

// A standby that has missed the last rows gives their ids to other rows. Receipts of the old ones mark none of those:
// the worker is told, and forgets.
func TestFailOverMarksNoOtherRow(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	const insert = "insert into modulo.outbox (payload) select $1 from generate_series(1, 100)"
	p.exec(insert, "kept")
	p.lag()
	p.exec(insert, "lost")
	source := p.source(outboxJob())
	worker := source.Worker(jobs.Shard{Of: 1})
	fetched, err := worker.Fetch(t.Context(), jobs.FirstID)
	if err != nil || len(fetched.Rows) != 200 {
		t.Fatalf("%d rows, %v", len(fetched.Rows), err)
	}
	p.failOver()
	p.exec(insert, "new")
	again := column[int64](p.fixture, "select id from modulo.outbox where payload = 'new' and id = any($1)", fetched.IDs())
	if len(again) < 50 {
		t.Fatalf("only %d ids are given again: nothing is tested", len(again))
	}
	within(t, "the store is on the new primary", func() bool { return p.Ping(t.Context()) == nil })

	failure := jobs.Failure{RowID: again[0], Class: jobs.ClassRefused, Attempts: 1, RetryAfter: time.Hour}
	_, fetchErr := worker.Fetch(t.Context(), jobs.FirstID)
	for doing, err := range map[string]error{
		"mark": worker.MarkDone(t.Context(), fetched.IDs()), "settle": worker.Settle(t.Context(), fetched.IDs()), "fetch": fetchErr,
	} {
		if !errors.Is(err, jobs.ErrMoved) {
			t.Errorf("%s: %v, want %v", doing, err, jobs.ErrMoved)
		}
	}
	if err := worker.Park(t.Context(), []jobs.Failure{failure}); !errors.Is(err, jobs.ErrFenced) {
		t.Errorf("park: %v, want %v", err, jobs.ErrFenced)
	}
	next, err := source.Worker(jobs.Shard{Of: 1}).Fetch(t.Context(), jobs.FirstID)
	if err != nil || len(next.Rows) != 200 {
		t.Errorf("a worker that begins anew: %d rows, %v; want all 200 of the new primary", len(next.Rows), err)
	}
}

// After a fail-over nobody is trusted for one lease, instances that the new primary has never heard of are fenced, and no
// epoch is drawn twice, although the standby has missed the last ones.
func TestOwnershipAfterFailOver(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	job := outboxJob()
	job.Workers = 2
	f := &fleet{p.fixture, job}
	a := f.start()
	a.step()
	p.lag()
	b := f.start()
	f.settle(a, b)
	if len(b.last.Owned) != 1 {
		t.Fatalf("before the fail-over: %+v", b.last)
	}
	var lost int64
	for range 500 {
		epoch, err := p.NextEpoch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lost = epoch
	}
	p.failOver()

	var tick jobs.Tick
	within(t, "a tick on the new primary", func() (ok bool) {
		var err error
		tick, err = a.Tick(t.Context(), false)
		return err == nil
	})
	if !tick.Moved || !tick.Jobs[0].Hold || len(tick.Jobs[0].Owned) != 2 {
		t.Errorf("the instance that it knows: %+v", tick)
	}
	within(t, "the lost instance is fenced", func() bool { return errors.Is(b.Beat(t.Context()), jobs.ErrFenced) })
	a.release([]jobs.Owned{{Shard: tick.Jobs[0].Owned[0].Shard, GiveBack: true}}) // what it does not run
	c := f.start()
	if state := c.step(); len(state.Owned) != 0 || !state.Hold {
		t.Errorf("a worker got an owner during the hold: %+v", state)
	}
	f.exec("update modulo.jobs set hold_until = clock_timestamp()")
	if state := c.step(); len(state.Owned) != 1 || state.Owned[0].Epoch <= lost {
		t.Errorf("after the hold: %+v; epochs up to %d were drawn before", state, lost)
	}
	if tick, err := a.Tick(t.Context(), false); err != nil || tick.Moved {
		t.Errorf("moved again: %v, %v", tick.Moved, err)
	}
}

// The fail-over is noticed even where the standby has never heard of the job, by who remembers the old primary.
func TestFailOverBeforeTheJobWasReplicated(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.lag()
	job := outboxJob()
	f := &fleet{p.fixture, job}
	ownership, err := f.NewOwnership(store.OwnershipConfig{Jobs: []*jobs.Job{job}, Timing: testTiming})
	if err != nil {
		t.Fatal(err)
	}
	join := func() (instance jobs.Instance) {
		t.Helper()
		within(t, "joined", func() bool {
			var err error
			instance, err = ownership.Join(t.Context())
			return err == nil
		})
		t.Cleanup(func() { _ = instance.Leave(context.Background()) })
		return instance
	}
	before, err := join().Tick(t.Context(), false)
	if err != nil || len(before.Jobs[0].Owned) != job.Workers {
		t.Fatalf("%+v, %v", before, err)
	}
	p.failOver()
	after, err := join().Tick(t.Context(), false)
	if err != nil || !after.Moved || !after.Jobs[0].Hold || len(after.Jobs[0].Owned) != 0 {
		t.Errorf("%+v, %v", after, err)
	}
}

// A primary that turns read-only while its connections stand is left at the next heartbeat.
func TestDemotedPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	f := &fleet{p.fixture, outboxJob()}
	a := f.start()
	a.step()
	if err := a.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.lag()
	p.exec("alter system set default_transaction_read_only = on")
	p.exec("select pg_reload_conf()")
	if err := p.standby.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.promote()
	within(t, "a heartbeat on the new primary", func() bool {
		return a.Beat(t.Context()) == nil && column[int](p.fixture, "select count(*)::int from modulo.instances where beat > 1")[0] == 1
	})
	within(t, "the pool is on the new primary", func() bool { return p.Ping(t.Context()) == nil })
	if _, err := p.NextEpoch(t.Context()); err != nil {
		t.Error(err)
	}
}

// Where the old primary goes on beside the new one, a heartbeat that reaches it counts no more.
func TestHeartbeatOnTheOldPrimary(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	f := &fleet{p.fixture, outboxJob()}
	a := f.start()
	a.step()
	if err := a.Beat(t.Context()); err != nil { // connects to the primary, and stays there
		t.Fatal(err)
	}
	old := &fixture{t: t, conn: testservers.Connect(t, p.primary.URL("template1"))}
	p.catchUp() // else the new primary may not know the instance
	p.promote()
	old.exec("alter database postgres allow_connections false")
	old.exec(`select pg_terminate_backend(pid) from pg_stat_activity
		where application_name = 'modulo' and query not like 'update modulo.instances%set beat%'`)
	within(t, "a tick on the new primary", func() bool {
		tick, err := a.Tick(t.Context(), false)
		return err == nil && tick.Moved
	})
	if err := a.Beat(t.Context()); !errors.Is(err, jobs.ErrFenced) {
		t.Errorf("heartbeat on the old primary: %v, want %v", err, jobs.ErrFenced)
	}
}

// A machine that is gone does not answer at all. It takes only its share of the time for a heartbeat.
func TestHeartbeatReachesTheNextHost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gone.Close() }()
	address, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	address.Host = gone.Addr().String() + "," + address.Host
	f.DB = open(t, store.Config{URL: address.String() + "&connect_timeout=4"})
	a := (&fleet{f, outboxJob()}).start()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if err := a.Beat(ctx); err != nil {
		t.Error(err)
	}
}
