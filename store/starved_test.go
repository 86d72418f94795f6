package store_test

import (
	"context"
	"sync"
	"testing"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// While the workers hold every connection of the pool, and others wait for one, heartbeats and ticks go on: they have
// connections of their own.
func TestHeartbeatsAreNotStarved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const conns, loads = 2, 8
	f.DB = open(t, store.Config{URL: testservers.Seen(t, f.url), MaxConns: conns})
	f.exec("insert into modulo.outbox (payload) values ('x')")
	stuck := outboxJob()
	stuck.Source.Where = "done_at is null and pg_advisory_xact_lock_shared(1) is not null"
	source := f.source(stuck)
	a := (&fleet{f, outboxJob()}).start()

	f.exec("select pg_advisory_lock(1)")
	var loading sync.WaitGroup
	for range loads {
		loading.Go(func() {
			if _, err := source.Worker(jobs.Shard{Of: 1}).Fetch(t.Context(), jobs.FirstID); err != nil {
				t.Error(err)
			}
		})
	}
	const waiting = `select count(*) from pg_locks where locktype = 'advisory' and not granted
		and database = (select oid from pg_database where datname = current_database())`
	within(t, "the pool is busy", func() bool { return column[int](f, waiting)[0] == conns })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 10 {
		if err := a.Beat(ctx); err != nil {
			t.Error(err)
		}
		if _, err := a.Tick(ctx, false); err != nil {
			t.Error(err)
		}
	}
	if n := column[int](f, waiting)[0]; n != conns {
		t.Errorf("%d connections of the pool are still held, want all %d", n, conns)
	}
	f.exec("select pg_advisory_unlock(1)")
	loading.Wait()
}
