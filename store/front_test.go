package store_test

import (
	"fmt"
	"testing"

	"modulo/jobs"
	"modulo/store"
)

func (f *fixture) front(source *store.Source) int64 {
	f.t.Helper()
	id, err := source.Front(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// The front is the first row that any worker could fetch: neither one that is recorded as failed nor, in an ordered job,
// one behind it. Where there is none, new rows come behind it all the same.
func TestFront(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable)
	job := tableJob("own")
	job.Source.ShardBy, job.Ordered = "tenant", true
	source := f.source(job)
	want := func(when string, id int64) {
		t.Helper()
		if got := f.front(source); got != id {
			t.Errorf("%s: the front is at %d, want %d", when, got, id)
		}
	}
	want("empty table", jobs.FirstID)
	f.exec("insert into own (id, payload, tenant) values (-3, 'x', 'a'), (4, 'x', 'a'), (5, 'x', 'b'), (9, 'x', 'c')")
	want("all pending", -3)
	f.exec(`insert into modulo.failures (job, row_id, key, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
		values ('job', -3, 'a', '', 1, now(), now(), 'refused', '')`)
	want("the first one failed, the next one is held back", 5)
	f.exec("update own set sent_at = now() where id in (5, 9)")
	want("nothing to fetch", 9)
	f.exec("update own set sent_at = now(); delete from modulo.failures")
	want("all done", 9)
}

// With an old snapshot around, every row that was done since is in the way of a fetch from the first id. From the front
// and from the cursor a fetch touches no more pages than on a clean table, however many those are.
func TestFetchBehindDeadEntries(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const insert = "insert into modulo.outbox (payload, key) select repeat('x', 100), 'k' || i % 100 from generate_series(1, 10000) as i"
	for _, job := range []*jobs.Job{outboxJob(), keyedJob()} {
		f.exec("truncate modulo.outbox restart identity; " + insert)
		source := f.source(job)
		pages := func(from int64) int {
			return buffers(t, f.plan(sessions()["direct"], source.FetchSQL(jobs.Shard{Number: 3, Of: 5}), "bigint, bigint", fmt.Sprintf("%d, 100", from)))
		}
		clean := pages(jobs.FirstID)
		release := f.holdSnapshot()
		for round := range 3 {
			f.exec("update modulo.outbox set done_at = now() where done_at is null")
			if id := f.front(source); id != int64(10000*(round+1)) {
				t.Errorf("nothing is pending, but the front is at %d", id)
			}
			f.exec(insert)
			front := f.front(source)
			first, atFront, atCursor := pages(jobs.FirstID), pages(front), pages(front+500)
			t.Logf("ordered %v, round %d: %d pages from the first id, %d from the front, %d from the cursor, %d of a clean table",
				job.Ordered, round, first, atFront, atCursor, clean)
			if first < clean+100*(round+1) {
				t.Errorf("dead entries are not in the way: the test shows nothing")
			}
			if most := clean + 50; atFront > most || atCursor > most {
				t.Errorf("%d and %d pages, at most %d are needed", atFront, atCursor, most)
			}
		}
		release()
	}
}

func keyedJob() *jobs.Job {
	job := outboxJob()
	job.Source.ShardBy, job.Ordered = "key", true
	return job
}
