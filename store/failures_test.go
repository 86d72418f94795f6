package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

const soon = time.Nanosecond // a retry that is due at once

func park(t testing.TB, failures jobs.Failures, records ...jobs.Failure) {
	t.Helper()
	if err := failures.Park(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

func wantIDs(t testing.TB, what string, batch jobs.Batch, want ...int64) {
	t.Helper()
	if got := batch.IDs(); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestFailuresOfAWorker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, payload) select i, 'p' || i from generate_series(1, 12) as i`)
	source := f.source(tableJob("own"))
	worker, other := source.Worker(jobs.Shard{Number: 0, Of: 2}), source.Worker(jobs.Shard{Number: 1, Of: 2})
	park(t, worker,
		jobs.Failure{RowID: 8, EventID: "e8", Attempts: 2, RetryAfter: soon, Class: jobs.ClassRefused, Reason: "busy"},
		jobs.Failure{RowID: 2, EventID: "e2", Attempts: 1, RetryAfter: soon, Class: jobs.ClassRefused},
		jobs.Failure{RowID: 4, EventID: "e4", Attempts: 1, RetryAfter: time.Hour, Class: jobs.ClassRefused},
		jobs.Failure{RowID: 6, EventID: "e6", Attempts: 3, Class: jobs.ClassTooLarge},
		jobs.Failure{RowID: 1000, EventID: "gone", Attempts: 1, RetryAfter: soon, Class: jobs.ClassRefused},
	)
	wantIDs(t, "fetch leaves failures out", fetch(t, worker), 10, 12)
	batch := due(t, worker)
	wantIDs(t, "due", batch, 2, 8)
	if r := batch.Rows[1]; r.Attempts != 2 || r.MarkOnly || string(r.Payload) != "p8" || string(r.Fields[0]) != "8" {
		t.Errorf("due row %+v", r)
	}
	wantIDs(t, "due of the other worker", due(t, other))
	if n := column[int64](f, "select count(*) from modulo.failures"); n[0] != 4 {
		t.Errorf("%d records, want none of the row that is gone", n[0])
	}

	f.exec("update own set sent_at = now() where id = 2; delete from own where id = 8")
	again, cleared, err := worker.Due(t.Context(), jobs.FirstID)
	if err != nil || cleared != 2 || len(again.Rows) != 0 {
		t.Errorf("due after rows were done beside us: %v, cleared %d, %v", again.IDs(), cleared, err)
	}
	if err := worker.Settle(t.Context(), []int64{4, 6}); err != nil {
		t.Fatal(err)
	}
	if n := column[int64](f, "select count(*) from modulo.failures"); n[0] != 0 {
		t.Errorf("%d records left", n[0])
	}
	if left := column[int64](f, "select id from own where sent_at is null and id % 2 = 0 order by 1"); !slices.Equal(left, []int64{10, 12}) {
		t.Errorf("not done: %v", left)
	}
}

func TestSettleIsAtomic(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table own (id int primary key, payload text, sent_at timestamptz, check (id <> 5 or sent_at is null));
		insert into own (id) values (4), (5)`)
	worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
	park(t, worker, jobs.Failure{RowID: 4, RetryAfter: soon}, jobs.Failure{RowID: 5, RetryAfter: soon})
	wantRefused(t, worker.Settle(t.Context(), []int64{4, 5}), true)
	wantIDs(t, "due after a refused settle", due(t, worker), 4, 5)
}

// In an ordered job a failure holds back the later rows of its key, and only those.
func TestOrderedHoldsBackTheKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, tenant) values (1, 'a'), (2, 'b'), (3, 'a'), (4, null), (5, ''), (6, ''), (7, 'b'), (8, 'a'), (9, null)`)
	job := tableJob("own")
	job.Ordered, job.Source.ShardBy = true, "tenant"
	worker := f.source(job).Worker(jobs.Shard{Of: 1})
	refused := func(id int64) jobs.Failure {
		return jobs.Failure{RowID: id, Attempts: 1, RetryAfter: soon, Class: jobs.ClassRefused}
	}
	park(t, worker, refused(3), refused(4), refused(5))
	wantIDs(t, "fetch", fetch(t, worker), 1, 2, 6, 7, 9)
	park(t, worker, refused(8)) // a later one of the key fails too: it must not overtake
	wantIDs(t, "due", due(t, worker), 3, 4, 5)
	if err := worker.Settle(t.Context(), []int64{3, 5}); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "due after the first of the key", due(t, worker), 4, 8)
	wantIDs(t, "fetch after", fetch(t, worker), 1, 2, 6, 7, 9)

	// Delivered and discarded rows only need their mark. A delivered one keeps nobody waiting.
	delivered := refused(1)
	delivered.Delivered, delivered.Class = true, jobs.ClassUnmarkable
	park(t, worker, delivered)
	if n, err := f.repair(store.RepairDiscard, store.FailureFilter{Job: "job", IDs: []int64{4}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantIDs(t, "due with a delivered and a discarded row", due(t, worker), 4, 8)
	if n, err := f.repair(store.RepairRetry, store.FailureFilter{Job: "job", IDs: []int64{1}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	batch := due(t, worker)
	wantIDs(t, "due after retry", batch, 1, 4, 8)
	if !batch.Rows[0].MarkOnly || !batch.Rows[1].MarkOnly || batch.Rows[2].MarkOnly {
		t.Errorf("mark only: %+v", batch.Rows)
	}
}

// A worker that did not know of a discard would read on behind its cursor and leave rows of the key for later: the
// discarded row holds its key until the worker has settled it.
func TestDiscardedRowHoldsItsKeyUntilSettled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, tenant) values (1, 'a'), (2, 'b'), (3, 'a'), (4, 'a')`)
	job := tableJob("own")
	job.Ordered, job.Source.ShardBy = true, "tenant"
	worker := f.source(job).Worker(jobs.Shard{Of: 1})
	park(t, worker, jobs.Failure{RowID: 1, Attempts: 8, Class: jobs.ClassRefused})
	if n, err := f.repair(store.RepairDiscard, store.FailureFilter{Job: "job"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantIDs(t, "fetch after the discard", fetch(t, worker), 2)
	batch := due(t, worker)
	wantIDs(t, "due", batch, 1)
	if !batch.Rows[0].MarkOnly {
		t.Error("a discarded row is to be sent")
	}
	if err := worker.Settle(t.Context(), []int64{1}); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "fetch when it is settled", fetch(t, worker), 2, 3, 4)
}

// What became of the row while a person decided is not undone by the outcome of an attempt that was under way.
func TestParkKeepsADiscard(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id) values (1)`)
	worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
	failure := jobs.Failure{RowID: 1, EventID: "e1", Attempts: 8, Class: jobs.ClassRefused}
	get := func() store.FailureRecord {
		record, err := f.GetFailure(t.Context(), "job", 1)
		if err != nil {
			t.Fatal(err)
		}
		return record
	}
	park(t, worker, failure)
	if r := get(); r.State != store.StateFailed || r.FailedAt == nil || r.Attempts != 8 {
		t.Errorf("used up: %+v", r)
	}
	if _, err := f.repair(store.RepairDiscard, store.FailureFilter{Job: "job"}); err != nil {
		t.Fatal(err)
	}
	park(t, worker, failure)
	if r := get(); r.State != store.StateDiscarded {
		t.Errorf("refused after a discard: %+v", r)
	}
	unmarkable := jobs.Failure{RowID: 1, Attempts: 1, Class: jobs.ClassUnmarkable, Reason: "no", Delivered: true}
	park(t, worker, unmarkable)
	if r := get(); r.State != store.StateFailed || r.Delivered || r.EventID != "e1" || r.Attempts != 8 {
		t.Errorf("unmarkable after a discard: %+v", r)
	}
	wantIDs(t, "due", due(t, worker))
	if n, err := f.repair(store.RepairDiscard, store.FailureFilter{Job: "job"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantIDs(t, "due after a second discard", due(t, worker), 1)
}

// A row that fails while a person counts is not repaired with the counted ones, though its statement began before the count.
func TestRepairLeavesLaterFailures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id) values (1)`)
	worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
	failure := jobs.Failure{RowID: 1, EventID: "e1", Attempts: 8, Class: jobs.ClassRefused}
	park(t, worker, failure)
	blocker := testservers.Connect(t, f.url)
	if _, err := blocker.Exec(t.Context(), "begin; select from modulo.failures for update"); err != nil {
		t.Fatal(err)
	}
	parked := make(chan error, 1)
	go func() { parked <- worker.Park(t.Context(), []jobs.Failure{failure}) }()
	within(t, "the statement has begun", func() bool {
		return len(column[int32](f, `select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`)) == 1
	})
	r, err := f.As(operator).BeginRepair(t.Context(), store.RepairDiscard, store.FailureFilter{Job: "job"}, nil)
	if err != nil || r.Matched != 1 {
		t.Fatal(r, err)
	}
	if _, err := blocker.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := <-parked; err != nil {
		t.Fatal(err)
	}
	if n, err := r.Run(t.Context(), func(*store.Repairing) {}); n != 0 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestListFailures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, tenant) select i, 'k' || i % 3 from generate_series(1, 30) as i`)
	job := tableJob("own")
	job.Source.ShardBy = "tenant"
	worker := f.source(job).Worker(jobs.Shard{Of: 1})
	for id := range int64(30) {
		failure := jobs.Failure{RowID: id + 1, EventID: fmt.Sprint("e", id+1), Attempts: 1, Class: jobs.ClassRefused, Reason: "r"}
		if id%2 == 0 {
			failure.RetryAfter = time.Hour
		}
		if id%5 == 0 {
			failure.Class = jobs.ClassTooLarge
		}
		park(t, worker, failure)
	}
	f.exec("update modulo.failures set updated_at = now() - interval '1 day' where row_id <= 10")
	yesterday := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		filter store.FailureFilter
		want   int
	}{
		{store.FailureFilter{Job: "job"}, 30},
		{store.FailureFilter{Job: "other"}, 0},
		{store.FailureFilter{Job: "job", State: store.StateFailed}, 15},
		{store.FailureFilter{Job: "job", State: store.StateRetrying, Class: jobs.ClassTooLarge}, 3},
		{store.FailureFilter{Job: "job", Key: "k1"}, 10},
		{store.FailureFilter{Job: "job", Since: yesterday}, 20},
		{store.FailureFilter{Job: "job", IDs: []int64{3, 4, 99}}, 2},
	} {
		n, err := f.CountFailures(t.Context(), c.filter)
		if err != nil || n != c.want {
			t.Errorf("%+v: count %d, %v", c.filter, n, err)
		}
		var pages []store.FailureRecord
		for c.filter.Limit = 7; ; {
			page, err := f.ListFailures(t.Context(), c.filter)
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, page...)
			if len(page) < 7 {
				break
			}
			c.filter.After = &page[len(page)-1].RowID
		}
		if len(pages) != c.want {
			t.Errorf("%+v: listed %d", c.filter, len(pages))
		}
	}
	if _, err := f.GetFailure(t.Context(), "job", 31); !errors.Is(err, store.ErrNoFailure) {
		t.Errorf("got %v", err)
	}
	if r, err := f.GetFailure(t.Context(), "job", 7); err != nil || r.EventID != "e7" || *r.Key != "k1" || r.Error != "r" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRetryFailures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id) select i from generate_series(1, 4) as i`)
	worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
	for id := range int64(4) {
		park(t, worker, jobs.Failure{RowID: id + 1, Attempts: 8, Class: jobs.ClassRefused, Reason: strings.Repeat("ü", 5000)})
	}
	wantIDs(t, "due before", due(t, worker))
	if n, err := f.repair(store.RepairRetry, store.FailureFilter{Job: "job", IDs: []int64{2, 3}}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	batch := due(t, worker)
	wantIDs(t, "due after", batch, 2, 3)
	if batch.Rows[0].Attempts != 0 {
		t.Errorf("attempts %d", batch.Rows[0].Attempts)
	}
}

// Pending rows by their ids: those that failed are among them, but not those that are recorded as delivered.
func TestPending(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (payload) select 'x' from generate_series(1, 5); update modulo.outbox set done_at = now() where id = 4")
	worker := f.source(outboxJob()).Worker(jobs.Shard{Of: 1})
	err := worker.Park(t.Context(), []jobs.Failure{
		{RowID: 2, Class: jobs.ClassUnmarkable, Attempts: 1, Delivered: true},
		{RowID: 3, Class: jobs.ClassRefused, Attempts: 1, RetryAfter: soon},
	})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := worker.Pending(t.Context(), []int64{1, 2, 3, 4, 9})
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "pending", pending, 1, 3)
}
