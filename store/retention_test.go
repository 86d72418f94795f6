package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// guardSQL refuses to delete a row of modulo.outbox that is pending, or was done less than so many seconds ago.
const guardSQL = `
create function guard() returns trigger language plpgsql as $$ begin
  if old.done_at is null or old.done_at > now() - interval '%d seconds' then
    raise exception 'row %% is deleted: done at %%', old.id, old.done_at;
  end if;
  return old;
end $$;
create trigger guard before delete on modulo.outbox for each row execute function guard()`

// sweeps are those of one process.
func (f *fixture) sweeps(cfg store.RetentionConfig) []*store.Sweep {
	f.t.Helper()
	if cfg.Jobs == nil {
		cfg.Jobs = []*jobs.Job{outboxJob()}
	}
	sweeps, err := f.Sweeps(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, s := range sweeps {
		f.t.Cleanup(func() { s.Close(context.Background()) })
	}
	return sweeps
}

// sweep steps until nothing is left, and returns what was removed and in how many steps.
func (f *fixture) sweep(s *store.Sweep) (removed, steps int) {
	f.t.Helper()
	for {
		step, err := s.Step(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		removed, steps = removed+step.Removed, steps+1
		if step.Rests {
			return removed, steps
		}
	}
}

// Done rows that are old enough go, in batches; everything else stays. Later rounds go on where the last one ended.
func TestRetentionOfDoneRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(fmt.Sprintf(guardSQL, 3599))
	f.exec(`insert into modulo.outbox (payload, created_at, done_at)
		select n, now() - interval '2 days', case when n % 10 > 0 then now() - interval '1 hour' * (n % 3) end from generate_series(1, 3000) as n;
		insert into modulo.outbox (payload, done_at) select n, now() from generate_series(1, 500) as n`)
	want := column[int](f, "select count(*)::int from modulo.outbox where done_at <= now() - interval '1 hour'")[0]
	done := f.sweeps(store.RetentionConfig{Done: time.Hour, Batch: 100})[0]
	removed, steps := f.sweep(done)
	if removed != want || steps < 30 || steps > 32 {
		t.Errorf("%d rows in %d steps, want %d in 31: it ends where rows are too young", removed, steps, want)
	}
	if left := column[int](f, "select count(*)::int from modulo.outbox")[0]; left != 3500-want {
		t.Errorf("%d left", left)
	}
	// From now on only what was too young is looked at.
	f.exec(`update modulo.outbox set done_at = now() - interval '2 hours', created_at = now() - interval '2 days' where id between 3001 and 3300;
		update modulo.outbox set done_at = now() - interval '2 hours' where id <= 3000 and done_at is not null`)
	if removed, steps = f.sweep(done); removed != 300 || steps > 6 {
		t.Errorf("%d rows in %d steps, want 300 in 6", removed, steps)
	}
	if n := column[int](f, "select removed::int from modulo.retention where subject = 'done' and swept_at is not null")[0]; n != want+300 {
		t.Errorf("%d are written down", n)
	}
	// Another process, once the first is gone, looks at all of them.
	f.exec("update modulo.retention set expires_at = now()")
	if removed, _ = f.sweep(f.sweeps(store.RetentionConfig{Done: time.Hour})[0]); removed == 0 {
		t.Error("what had a reason to stay is not looked at again")
	}
	if left := column[int](f, "select count(*)::int from modulo.outbox where done_at < now() - interval '1 hour'")[0]; left > 0 {
		t.Errorf("%d old rows left", left)
	}
}

// Only one process removes rows; when it is gone another one does.
func TestRetentionByOneProcess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (payload, created_at, done_at) select '', now() - interval '2 days', now() - interval '1 day' from generate_series(1, 300)`)
	cfg := store.RetentionConfig{Done: time.Hour, Batch: 100}
	one, two := f.sweeps(cfg)[0], f.sweeps(cfg)[0]
	step := func(s *store.Sweep, removed int, rests bool) {
		t.Helper()
		got, err := s.Step(t.Context())
		if err != nil || got != (store.SweepStep{Removed: removed, Rests: rests}) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	step(one, 100, false)
	step(two, 0, true)
	step(one, 100, false)
	f.exec("update modulo.retention set expires_at = clock_timestamp()")
	step(two, 100, false)
	step(one, 0, true)
	holder := testservers.Connect(t, f.url) // in the middle of a batch
	for _, sql := range []string{"begin", "update modulo.retention set removed = 0"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	step(one, 0, true)
}

// A row that somebody has locked stays and holds nothing up; a job's own idea of pending counts too.
func TestRetentionLeavesAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`alter table modulo.outbox add again boolean not null default false;
		insert into modulo.outbox (payload, created_at, done_at, again) select '', now() - interval '2 days', now() - interval '1 day', n = 7 from generate_series(1, 20) as n`)
	holder := testservers.Connect(t, f.url)
	for _, sql := range []string{"begin", "select from modulo.outbox where id = 5 for share"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	again := outboxJob()
	again.Source.Where = "done_at is null or again -- 100 %s"
	f.sweep(f.sweeps(store.RetentionConfig{Done: time.Hour, Jobs: []*jobs.Job{outboxJob(), again}})[0])
	if left := column[int64](f, "select id from modulo.outbox order by id"); fmt.Sprint(left) != "[5 7]" {
		t.Errorf("left: %v", left)
	}
	other := tableJob("own")
	if sweeps := f.sweeps(store.RetentionConfig{Done: time.Hour, Jobs: []*jobs.Job{other}}); len(sweeps) > 0 {
		t.Error("rows of modulo.outbox are removed by who does not run a job on it")
	}
}

// A table that somebody has locked is told, and is no reason to begin from the start.
func TestRetentionOfALockedTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (payload, created_at, done_at)
		select '', now() - interval '2 days', case when n % 2 = 0 then now() - interval '1 day' end from generate_series(1, 300) as n`)
	done := f.sweeps(store.RetentionConfig{Done: time.Hour, Batch: 50})[0]
	for range 3 {
		if _, err := done.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	holder := testservers.Connect(t, f.url)
	for _, sql := range []string{"begin", "lock table modulo.outbox"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	step, err := done.Step(t.Context())
	wantError(t, err, "remove done rows", "lock timeout")
	if !step.Rests {
		t.Error("it does not give way")
	}
	if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if removed, steps := f.sweep(done); removed != 75 || steps > 4 {
		t.Errorf("%d rows in %d steps, want 75 in 4", removed, steps)
	}
}

// All kinds together take one connection.
func TestRetentionByOneConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const sessionsSQL = "select count(*)::int from pg_stat_activity where datname = current_database()"
	sweeps := f.sweeps(store.RetentionConfig{Done: time.Hour, Audit: time.Hour, Failed: time.Hour, Jobs: []*jobs.Job{outboxJob(), tableJob("own")}})
	before := column[int](f, sessionsSQL)[0]
	for _, sweep := range sweeps {
		f.sweep(sweep)
	}
	if n := column[int](f, sessionsSQL)[0] - before; len(sweeps) != 4 || n != 1 {
		t.Errorf("%d sweeps took %d connections", len(sweeps), n)
	}
}

// Failed rows are given up as a person would, not deleted; what was delivered, is tried again, or is locked, stays.
func TestRetentionOfFailedRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (payload) select '' from generate_series(1, 6);
		insert into modulo.failures (job, row_id, event_id, attempts, next_attempt_at, failed_at, error_class, last_error, delivered) values
		('outbox', 1, '', 8, now(), now() - interval '2 hours', 'refused', '', false),
		('outbox', 2, '', 8, now(), now() - interval '2 hours', 'unmarkable', '', true),
		('outbox', 3, '', 8, now(), now(), 'refused', '', false),
		('outbox', 4, '', 1, now() - interval '2 hours', null, 'refused', '', false),
		('outbox', 6, '', 8, now(), now() - interval '2 hours', 'refused', '', false),
		('other', 5, '', 8, now(), now() - interval '2 hours', 'refused', '', false)`)
	holder := testservers.Connect(t, f.url)
	for _, sql := range []string{"begin", "select from modulo.failures where row_id = 6 for update"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	sweep := f.sweeps(store.RetentionConfig{Failed: time.Hour})[0]
	if removed, _ := f.sweep(sweep); removed != 1 {
		t.Errorf("%d are given up, want 1", removed)
	}
	if ids := column[int64](f, "select row_id from modulo.failures where discarded_at is not null and failed_at is null"); fmt.Sprint(ids) != "[1]" {
		t.Errorf("given up: %v", ids)
	}
	if told := column[string](f, "select action || ' of ' || job || ', ' || affected from modulo.audit"); fmt.Sprint(told) != "[discard rows of outbox, 1]" {
		t.Errorf("audit: %v", told)
	}
	rows := f.source(outboxJob()).Worker(jobs.Shard{Of: 1})
	marks := due(t, rows).IDs() // 4 is due anyway
	if fmt.Sprint(marks) != "[1 4]" {
		t.Errorf("due: %v", marks)
	}
	if err := rows.Settle(t.Context(), []int64{1}); err != nil {
		t.Fatal(err)
	}
	if pending := column[int64](f, "select id from modulo.outbox where done_at is null order by id"); fmt.Sprint(pending) != "[2 3 4 5 6]" {
		t.Errorf("pending: %v", pending)
	}
}

// Entries of the audit go by their age.
func TestRetentionOfAudit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.audit (at, who, action, job, result) select now() - interval '1 hour' * n, '', '', '', '' from generate_series(10, 0, -1) as n`)
	if removed, _ := f.sweep(f.sweeps(store.RetentionConfig{Audit: 150 * time.Minute, Batch: 2})[0]); removed != 8 {
		t.Errorf("%d entries, want 8", removed)
	}
}

// The walk and the removal go by the primary key, however large the table, in both kinds of sessions.
func TestRetentionPlan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (payload, done_at) select repeat('x', 100), now() - interval '1 day' from generate_series(1, 100000)`)
	f.exec("vacuum analyze modulo.outbox")
	done := f.sweeps(store.RetentionConfig{Done: time.Hour})[0]
	walk, remove := done.SQL()
	plan := f.plan(store.RetentionLimits, walk, "bigint, float8", "50000, 3600")
	if n := buffers(t, plan); n > 100 {
		t.Errorf("the walk touches %d pages:\n%s", n, plan)
	}
	ids := column[string](f, "select quote_literal(array_agg(i)::text) from generate_series(1000, 1999) as i")[0]
	f.exec("begin")
	plan = f.plan(store.RetentionLimits, remove, "bigint[], float8", ids+", 3600")
	f.exec("rollback")
	if n := buffers(t, plan); n > 15_000 {
		t.Errorf("the removal touches %d pages:\n%s", n, plan)
	}
}

// Whatever happens at the same time, no pending row is ever deleted, and none that was done just now: rows are inserted and
// commit late, marked, given back to pending by hand, locked, recalled by their ids after a crash and marked once more,
// while several processes remove what is old and lose their turn. What was inserted is there, or was done and old.
func TestRetentionNeverDeletesPendingRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(fmt.Sprintf(guardSQL, 59))
	f.exec(`create table gone (id bigint primary key);
		create function note() returns trigger language plpgsql as $$ begin insert into gone values (old.id); return null; end $$;
		create trigger note after delete on modulo.outbox for each row execute function note()`)
	source := f.source(outboxJob())
	ctx, stop := context.WithCancel(t.Context())
	var everybody sync.WaitGroup
	defer everybody.Wait()
	defer stop()
	always := func(name string, do func(conn *pgx.Conn) error) {
		conn := testservers.Connect(t, f.url)
		everybody.Go(func() {
			for ctx.Err() == nil {
				if err := do(conn); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	execute := func(conn *pgx.Conn, sql string, args ...any) error {
		_, err := conn.Exec(context.WithoutCancel(ctx), sql, args...)
		return err
	}
	for range 2 {
		always("insert", func(conn *pgx.Conn) error {
			return execute(conn, `insert into modulo.outbox (payload, created_at)
				select pg_sleep(random() * 0.002)::text, now() - interval '1 hour' * (random() * 2)::int from generate_series(1, $1::int)`, rand.IntN(20))
		})
	}
	// Marks are old at once, most of them.
	always("mark", func(conn *pgx.Conn) error {
		return execute(conn, `update modulo.outbox set done_at = now() - interval '1 second' * (random() * 200)::int
			where id in (select id from modulo.outbox where done_at is null and random() < 0.5 limit 200 for update skip locked)`)
	})
	always("send again by hand", func(conn *pgx.Conn) error {
		return execute(conn, `update modulo.outbox set done_at = null where id in (select id from modulo.outbox where done_at is not null and random() < 0.1 limit 20 for update skip locked)`)
	})
	always("lock", func(conn *pgx.Conn) error {
		return execute(conn, `select pg_sleep(0.001) from (select from modulo.outbox where random() < 0.05 limit 10 for update skip locked) as locked`)
	})
	always("recall after a crash", func(conn *pgx.Conn) error {
		rows := source.Worker(jobs.Shard{Of: 1})
		var ids []int64
		for id := range int64(100) {
			ids = append(ids, id*int64(1+rand.IntN(20)))
		}
		batch, err := rows.Pending(ctx, slices.Compact(slices.Sorted(slices.Values(ids))))
		if err != nil {
			return err
		}
		return rows.Settle(context.WithoutCancel(ctx), batch.IDs())
	})
	for range 2 {
		always("remove", func(*pgx.Conn) error {
			sweeps, err := f.Sweeps(store.RetentionConfig{Jobs: []*jobs.Job{outboxJob()}, Done: time.Minute, Batch: 50, Lease: time.Millisecond})
			for range rand.IntN(50) {
				if err == nil {
					_, err = sweeps[0].Step(context.WithoutCancel(ctx))
				}
			}
			sweeps[0].Close(ctx)
			return err
		})
	}
	began, gone := time.Now(), 0
	within(t, "rows are removed", func() bool {
		gone = column[int](f, "select count(*)::int from gone")[0]
		return gone >= 1000 && time.Since(began) > 3*time.Second
	})
	stop()
	everybody.Wait()
	lost := column[int64](f, `select s.id from generate_series(1, (select last_value from modulo.outbox_id_seq)) as s (id)
		where not exists (select from gone as g where g.id = s.id) and not exists (select from modulo.outbox as o where o.id = s.id)`)
	t.Logf("%d rows removed, %d there", gone, column[int](f, "select count(*)::int from modulo.outbox")[0])
	if len(lost) > 0 {
		t.Errorf("lost: %v", lost)
	}
}
