package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modulo/internal/faultproxy"
	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// ear is a Listen that runs, and what it has heard.
type ear struct {
	t     testing.TB
	begun chan struct{} // closed when it is certain to hear
	ended chan error

	mu    sync.Mutex
	heard []string
}

// listen starts to listen, directly unless told otherwise; the end of the test ends it.
func (f *fixture) listen(cfg store.WakeupConfig) *ear {
	f.t.Helper()
	if cfg.URL == "" {
		cfg.URL = f.url // the rest may go through a pooler
	}
	w, err := f.NewWakeups(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	e := &ear{t: f.t, begun: make(chan struct{}), ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer close(e.ended)
		e.ended <- w.Listen(ctx, func() { close(e.begun) }, func(job string) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.heard = append(e.heard, job)
		})
	}()
	f.t.Cleanup(func() {
		stop()
		for range e.ended {
		}
	})
	return e
}

func (e *ear) awaitBegin() {
	e.t.Helper()
	select {
	case <-e.begun:
	case err := <-e.ended:
		e.t.Fatal(err)
	case <-time.After(patience):
		e.t.Fatal("does not listen")
	}
}

func (e *ear) awaitEnd() error {
	e.t.Helper()
	select {
	case err := <-e.ended:
		return err
	case <-time.After(patience):
		e.t.Fatal("still listens")
		return nil
	}
}

// await waits until it has heard these, in this order, and nothing else.
func (e *ear) await(jobs ...string) {
	e.t.Helper()
	within(e.t, fmt.Sprintf("heard of %q", jobs), func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return slices.Equal(e.heard, jobs)
	})
}

func listening(job *jobs.Job) *jobs.Job { job.Listen = true; return job }

func (f *fixture) announce(job *jobs.Job) error { return f.announceWithin(patience, job) }

func (f *fixture) announceWithin(d time.Duration, job *jobs.Job) error {
	f.t.Helper()
	w, err := f.NewWakeups(store.WakeupConfig{Jobs: []*jobs.Job{job}})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	return w.Announce(ctx)
}

const (
	insertSQL   = `insert into modulo.outbox (payload) values ('x')`
	listenerSQL = `select pid from pg_stat_activity where datname = current_database() and query = 'listen modulo_rows'`
)

// Only inserts that are committed are heard, each statement once, by the jobs that listen, and without asking anything.
func TestListenHearsInserts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(insertSQL) // wakes nobody
	outbox, deaf := listening(outboxJob()), tableJob("modulo.outbox")
	if err := f.announce(outbox); err != nil {
		t.Fatal(err)
	}
	e := f.listen(store.WakeupConfig{Jobs: []*jobs.Job{outbox, deaf}, CheckEvery: 10 * time.Millisecond})
	e.awaitBegin()
	f.exec("begin; " + insertSQL + "; rollback")
	f.exec(`insert into modulo.outbox (payload) select 'x' from generate_series(1, 1000)`)
	e.await("outbox")
	f.exec("begin; " + insertSQL + "; " + insertSQL + "; commit")
	e.await("outbox", "outbox")
}

// A table of the user's own is heard once it has the trigger that Announce asks for, whatever its name; a partition is
// if the trigger names the partitioned table.
func TestListenOnOwnTables(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create schema "Odd ""Shop"""; create table "Odd ""Shop"""."In.voice" (id bigint primary key, payload text, sent_at timestamptz);
		create table parted (id bigint primary key, payload text, sent_at timestamptz) partition by range (id);
		create table parted_1 partition of parted for values from (0) to (1000)`)
	odd, parted := listening(tableJob(`"Odd ""Shop"""."In.voice"`)), listening(tableJob("parted"))
	odd.Name, parted.Name = "odd", "parted"
	for _, job := range []*jobs.Job{odd, parted} {
		problem, ok := errors.AsType[*store.Problem](f.announce(job))
		if !ok || problem.Where != "listen" {
			t.Fatalf("announced without a trigger: %v", problem)
		}
		f.exec(problem.Do)
		if err := f.announce(job); err != nil {
			t.Error(err)
		}
	}
	f.exec(`create trigger modulo_rows after insert on parted_1 for each statement execute function modulo.notify_rows('public.parted')`)
	e := f.listen(store.WakeupConfig{Jobs: []*jobs.Job{odd, parted}})
	e.awaitBegin()
	f.exec(`insert into "Odd ""Shop"""."In.voice" values (1, 'x')`)
	e.await("odd")
	f.exec(`insert into parted values (1, 'x')`)
	e.await("odd", "parted")
	f.exec(`insert into parted_1 values (2, 'x')`)
	e.await("odd", "parted", "parted")

	f.exec(`alter table parted disable trigger modulo_rows`)
	wantError(t, f.announce(parted), `alter table "public"."parted" enable trigger "modulo_rows"`)
	f.exec(`drop trigger modulo_rows on parted; create trigger each after insert on parted for each row execute function modulo.notify_rows()`)
	wantError(t, f.announce(parted), `create trigger modulo_rows after insert on "public"."parted" for each statement`)
}

// A trigger that is missing is told once, however many jobs share the table.
func TestMissingTriggerIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable)
	one, other := listening(tableJob("own")), listening(tableJob("own"))
	other.Name = "other"
	w, err := f.NewWakeups(store.WakeupConfig{Jobs: []*jobs.Job{one, other}, URL: f.url})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"announce": w.Announce(t.Context()), "check": w.Check(t.Context())} {
		if err == nil || strings.Count(err.Error(), "wake nobody") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Without the right to enable the trigger the statement is told; with it, it is done once, and nobody waits for long.
func TestAnnounceOnOutbox(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	job := listening(outboxJob())
	role := f.role()
	f.exec(fmt.Sprintf("grant usage on schema modulo to %s; grant select, insert, update on modulo.outbox to %s", role, role))
	other := &fixture{t: t, url: f.as(role), DB: open(t, store.Config{URL: f.as(role)})}
	const enable = `alter table "modulo"."outbox" enable trigger "outbox_rows"`
	problem, ok := errors.AsType[*store.Problem](other.announce(job))
	if !ok || problem.Do != enable {
		t.Fatalf("without the right: %v", problem)
	}

	holder := testservers.Connect(t, f.url)
	if _, err := holder.Exec(t.Context(), "begin; "+insertSQL); err != nil {
		t.Fatal(err)
	}
	busy := make(chan error, 1)
	go func() { busy <- f.announceWithin(5*time.Second, job) }()
	within(t, "waits for the lock", func() bool {
		return len(column[int32](f, `select pid from pg_locks where relation = 'modulo.outbox'::regclass and not granted`)) == 1
	})
	f.exec(insertSQL) // waits behind it, but not for as long as the transaction lasts
	if err := <-busy; err == nil {
		t.Error("enabled beside a transaction that inserts")
	}
	if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.announce(job); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.announce(job); err != nil {
		t.Errorf("there is nothing left to do: %v", err)
	}
}

// Who does not hear any more, or never could, says so: the service relies on the clock and tries again.
func TestListenNoticesDeafness(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cfg := store.WakeupConfig{Jobs: []*jobs.Job{listening(outboxJob())}, CheckEvery: 50 * time.Millisecond, Patience: 5 * time.Second}

	e := f.listen(cfg)
	e.awaitBegin()
	f.exec("select pg_terminate_backend(pid) from (" + listenerSQL + ") as l")
	if err := e.awaitEnd(); !store.IsUnreachable(err) {
		t.Errorf("terminated: %v", err)
	}

	proxy, url := testservers.Through(t, f.url)
	cfg.URL = url
	e = f.listen(cfg)
	e.awaitBegin()
	proxy.Set(faultproxy.Faults{Down: faultproxy.Flow{Stall: true}})
	if err := e.awaitEnd(); !errors.Is(err, store.ErrDeaf) {
		t.Errorf("stalled: %v", err)
	}

	cfg.URL = testservers.EmptyDatabase(t) // as with a pooler, notifications of f do not get there
	e = f.listen(cfg)
	if err := e.awaitEnd(); !errors.Is(err, store.ErrDeaf) {
		t.Errorf("another database: %v", err)
	}
	select {
	case <-e.begun:
		t.Error("believed to hear what it cannot hear")
	default:
	}

	cfg.URL = "host=127.0.0.1 port=none password=secret"
	_, err := f.NewWakeups(cfg)
	wantError(t, err, "listen: database URL")
}
