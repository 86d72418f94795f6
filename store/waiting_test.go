package store_test

import (
	"testing"
	"time"

	"modulo/jobs"
)

// Waiting knows pending rows of every worker and failures that are due; a row that only waits for a person is neither.
func TestWaiting(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable)
	source := f.source(tableJob("own"))
	want := func(when string, want bool) {
		t.Helper()
		if is, err := source.Waiting(t.Context()); err != nil || is != want {
			t.Errorf("%s: waiting %v, %v", when, is, err)
		}
	}
	want("empty table", false)
	f.exec("insert into own (id, payload) values (-7, 'x')")
	want("a row", true)
	worker := source.Worker(jobs.Shard{Of: 1})
	park(t, worker, jobs.Failure{RowID: -7, Attempts: 1, Class: jobs.ClassTooLarge})
	want("it has failed", false)
	park(t, worker, jobs.Failure{RowID: -7, Attempts: 1, RetryAfter: time.Hour, Class: jobs.ClassRefused})
	want("it is tried again later", false)
	park(t, worker, jobs.Failure{RowID: -7, Attempts: 1, RetryAfter: soon, Class: jobs.ClassRefused})
	want("it is due", true)
	if err := worker.Settle(t.Context(), []int64{-7}); err != nil {
		t.Fatal(err)
	}
	want("it is done", false)
}
