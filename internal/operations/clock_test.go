package operations_test

import (
	"net/url"
	"testing"
	"time"

	"modulo/internal/operations"
	"modulo/internal/testservers"
	"modulo/store"
)

// TestClocks: whether a rate still holds, and since when a worker has its owner, does not depend on this machine's clock
// agreeing with the database's.
func TestClocks(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]string{"behind": "-1 hour", "ahead": "1 hour"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, exec := skewedStore(t, skew)
			exec(`insert into modulo.jobs (job, workers) values ('orders', 2);
				insert into modulo.workers (job, generation, number, changed_at)
				select 'orders', 1, n, clock_timestamp() - interval '10 minutes' from generate_series(0, 1) as n`)
			notes := []store.WorkerProgress{{Job: "orders", Number: 0, Done: 50, Rate: 10}, {Job: "orders", Number: 1, Done: 50, Rate: 10}}
			for range 2 { // a first note is dated by the table's default, which keeps the real clock
				if err := db.NoteProgress(t.Context(), notes); err != nil {
					t.Fatal(err)
				}
			}
			exec(`update modulo.progress set noted_at = clock_timestamp() - interval '5 minutes' where number = 1`)
			job, err := operations.New(operations.Config{DB: db}).Job(t.Context(), "orders")
			if err != nil {
				t.Fatal(err)
			}
			if job.RowsPerSecond != 10 || job.PerWorker[0].RowsPerSecond != 10 {
				t.Errorf("rates %v and %v, together %v: the first was told just now, the second long ago",
					job.PerWorker[0].RowsPerSecond, job.PerWorker[1].RowsPerSecond, job.RowsPerSecond)
			}
			if held := job.PerWorker[0].OwnerSeconds; held < 600 || held > 1800 {
				t.Errorf("the worker changed hands %v s ago, not 600", held)
			}
		})
	}
}

// skewedStore is one on a database whose clock differs from this machine's, and statements by that clock.
func skewedStore(t *testing.T, skew string) (*store.DB, func(sql string)) {
	t.Helper()
	at, err := url.Parse(testservers.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	plain := testservers.Connect(t, at.String())
	if _, err := plain.Exec(t.Context(), "create schema skewed"); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Exec(t.Context(), `create function skewed.clock_timestamp() returns timestamptz language sql volatile
		as $$ select pg_catalog.clock_timestamp() + interval '`+skew+`' $$`); err != nil {
		t.Fatal(err)
	}
	query := at.Query()
	query.Set("search_path", "skewed,pg_catalog,public")
	at.RawQuery = query.Encode()
	db, err := store.Open(t.Context(), store.Config{URL: at.String(), StatementTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	conn := testservers.Connect(t, at.String())
	return db, func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}
