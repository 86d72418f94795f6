package store_test

import (
	"fmt"
	"testing"

	"modulo/jobs"
)

// Two batches at a time have memory of their own; what was freed serves the next one.
func TestBatchesKeepApart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, payload) select i, 'payload ' || i from generate_series(1, 2000) as i`)
	worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
	check := func(batch jobs.Batch) {
		t.Helper()
		for _, row := range batch.Rows {
			if string(row.Payload) != fmt.Sprint("payload ", row.ID) || string(row.Fields[0]) != fmt.Sprint(row.ID) {
				t.Fatalf("row %d: %s, %s", row.ID, row.Payload, row.Fields)
			}
		}
	}
	from, before := int64(jobs.FirstID), jobs.Batch{}
	for rows := 0; rows < 2000; {
		batch, err := worker.Fetch(t.Context(), from)
		if err != nil || len(batch.Rows) == 0 {
			t.Fatal(len(batch.Rows), err)
		}
		check(before)
		check(batch)
		if before.Free != nil {
			before.Free()
		}
		rows += len(batch.Rows)
		from, before = batch.Rows[len(batch.Rows)-1].ID+1, batch
	}
}

// However wide the rows, the batches of all workers of a job together take 32 MiB, and one row each.
func TestBatchBytesDoNotGrowWithWorkers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const wide = 100_000
	f.exec(ownTable + fmt.Sprintf(`alter table own alter payload set storage external;
		insert into own (id, payload) select 64 * i, repeat('x', %d) from generate_series(1, 100) as i`, wide))
	job := tableJob("own")
	for _, k := range []int{8, 64} {
		worker := f.source(job).Worker(jobs.Shard{Of: k})
		ids, largest := fetchAll(t, worker)
		if most := (32<<20/(2*k))/wide + 1; len(ids) != 100 || largest > most || largest < most-1 {
			t.Errorf("K=%d: %d rows, %d of %d bytes at once, want at most %d", k, len(ids), largest, wide, most)
		}
	}
}

// Reading a row allocates nothing: what a batch does is for the call. Not parallel: it counts.
func TestFetchAllocations(t *testing.T) {
	f := newFixture(t)
	f.exec("insert into modulo.outbox (payload) select repeat('x', 512) from generate_series(1, 1000)")
	worker := f.source(outboxJob()).Worker(jobs.Shard{Of: 1})
	read := func() int {
		batch := fetch(t, worker)
		batch.Free()
		return len(batch.Rows)
	}
	within(t, "whole batches", func() bool { return read() == 1000 })
	if n := testing.AllocsPerRun(10, func() { read() }); n > 200 {
		t.Errorf("%.0f allocations per 1000 rows", n)
	}
	ids := fetch(t, worker).IDs()
	if n := testing.AllocsPerRun(10, func() {
		if err := worker.MarkDone(t.Context(), ids); err != nil {
			t.Error(err)
		}
	}); n > 100 {
		t.Errorf("%.0f allocations to mark 1000 rows", n)
	}
}
