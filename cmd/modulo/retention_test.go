package main

import (
	"fmt"
	"testing"
)

// agedSQL lets rows be done long ago as soon as they are marked, and refuses to delete any that is pending.
const agedSQL = `
create function aged() returns trigger language plpgsql as $$ begin
  if tg_op = 'DELETE' and old.done_at is null then
    raise exception 'row % is deleted, and pending', old.id;
  elsif tg_op = 'DELETE' then
    return old;
  end if;
  new.done_at := new.done_at - interval '1 day';
  new.created_at := new.done_at;
  return new;
end $$;
create trigger aged before delete or update on modulo.outbox for each row execute function aged()`

// Rows that retention deletes as soon as they are done confuse nobody who comes after a crash: the token may name rows that
// are gone. Nothing is lost, nothing comes twice, and in the end the table is empty.
func TestRetentionAcrossCrashes(t *testing.T) {
	t.Parallel()
	const rounds, rows = 2, 500
	f := newFixture(t)
	f.exec(agedSQL)
	args := []string{"run", "--http", "off", "--config", write(t, "modulo.yaml", `
ownership: {lease: 4s, heartbeat: 1s, margin: 1s, tick: 50ms}
broker: {heartbeat: 2s}
retention: {done: 1m, every: 100ms}
jobs: {outbox: {workers: 3, batch: 20, every: 10ms}}
`)}
	const removedSQL = "select coalesce(sum(removed), 0)::int from modulo.retention"
	inserted := 0
	insert := func(n int) {
		f.exec("insert into modulo.outbox (destination, payload) select $1, n from generate_series($2::int, $3::int) as n", f.queue, inserted+1, inserted+n)
		inserted += n
	}
	for range rounds {
		process, _ := f.process(args...)
		before := one[int](f, removedSQL)
		await(t, "rows are delivered and removed", func() bool {
			insert(10)
			return one[int](f, removedSQL) > before
		})
		insert(rows)
		await(t, "some more rows are done", func() bool { return one[int](f, pendingSQL) < rows-rows/4 })
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait() // it was killed
		f.exec("update modulo.retention set expires_at = now()")
	}
	running := f.start(args...)
	f.drained()
	running.end()
	f.exec("update modulo.retention set expires_at = now()")
	running = f.start(args...)
	await(t, "every row is gone", func() bool { return one[int](f, "select count(*) from modulo.outbox") == 0 })
	running.end()
	seen := map[string]int{}
	for _, m := range f.taken(f.queue) {
		seen[string(m.Body)]++
	}
	for n := range inserted {
		if times := seen[fmt.Sprint(n+1)]; times != 1 {
			t.Errorf("row %d came %d times", n+1, times)
		}
	}
	t.Logf("%d rows, %d were removed", inserted, one[int](f, removedSQL))
}
