package main

import (
	"fmt"
	"runtime"
	"testing"
)

// What a row costs on its way does not creep up: allocations of the whole process, and transactions of the database. Both
// are the difference of a long and a short drain, so that starts and ends do not count. Not parallel: it counts what the
// whole process allocates.
func TestCostOfARow(t *testing.T) {
	const batch, short, long = 250, 4, 24 // rows; batches
	f := newFixture(t)
	f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", "ownership: {lease: 10m, heartbeat: 2m, margin: 1m, tick: 5m}\n") // nothing by the clock
	drain := func(batches int) (allocations, transactions int) {
		f.exec("insert into modulo.outbox (destination, payload) select $1, repeat('x', 512) from generate_series(1, $2)", f.queue, batches*batch)
		transactions -= f.transactions()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f.ok("once", "--workers", "1", "--batch", fmt.Sprint(batch))
		runtime.ReadMemStats(&after)
		transactions += f.transactions()
		f.taken(f.queue)
		return int(after.Mallocs - before.Mallocs), transactions
	}
	drain(short) // the first one makes the token
	shortAllocations, shortTransactions := drain(short)
	longAllocations, longTransactions := drain(long)
	if perRow := float64(longAllocations-shortAllocations) / ((long - short) * batch); perRow > 1.5 {
		t.Errorf("%.2f allocations per row, want at most 1.5: some 200 per batch, hardly any per row", perRow)
	}
	// A fetch and a mark, and now and then a sweep, or a look at failed rows: 2.8 where batches are as small as here.
	if perBatch := float64(longTransactions-shortTransactions) / (long - short); perBatch > 4 {
		t.Errorf("%.2f transactions per batch, want a fetch, a mark and little else", perBatch)
	}
}

// transactions is how many the database has seen, those of sessions that have ended included.
func (f *fixture) transactions() (n int) {
	f.t.Helper()
	await(f.t, "the end of the other sessions", func() bool {
		return one[int](f, "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()") == 0
	})
	return one[int](f, "select xact_commit from pg_stat_database where datname = current_database()")
}
