package store_test

import (
	"testing"

	"modulo/jobs"
)

// BenchmarkFetch reads batches of 1,000 rows of 512 bytes; an operation is a batch.
func BenchmarkFetch(b *testing.B) {
	for _, bench := range []struct {
		name  string
		shard jobs.Shard
	}{{"K=1", jobs.Shard{Of: 1}}, {"K=5", jobs.Shard{Number: 3, Of: 5}}, {"K=64", jobs.Shard{Number: 3, Of: 64}}} {
		b.Run(bench.name, func(b *testing.B) {
			f := newFixture(b)
			f.exec("insert into modulo.outbox (payload) select repeat('x', 512) from generate_series(1, 200000) as i")
			f.exec("vacuum analyze")
			worker := f.source(outboxJob()).Worker(bench.shard)
			b.ReportAllocs()
			rows := 0
			for from := int64(jobs.FirstID); b.Loop(); {
				batch, err := worker.Fetch(b.Context(), from)
				if err != nil {
					b.Fatal(err)
				}
				rows += len(batch.Rows)
				from = jobs.FirstID
				if batch.More {
					from = batch.Rows[len(batch.Rows)-1].ID + 1
				}
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkFetchNothing is what an idle worker costs, with its look at due failures.
func BenchmarkFetchNothing(b *testing.B) {
	f := newFixture(b)
	worker := f.source(outboxJob()).Worker(jobs.Shard{Number: 3, Of: 5})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := worker.Fetch(b.Context(), jobs.FirstID); err != nil {
			b.Fatal(err)
		}
		if _, _, err := worker.Due(b.Context(), jobs.FirstID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMarkDone marks batches of 1,000 rows; an operation is a batch.
func BenchmarkMarkDone(b *testing.B) {
	f := newFixture(b)
	worker := f.source(outboxJob()).Worker(jobs.Shard{Of: 1})
	var ids []int64
	for b.Loop() {
		if len(ids) == 0 {
			b.StopTimer()
			f.exec("truncate modulo.outbox; insert into modulo.outbox (payload) select repeat('x', 512) from generate_series(1, 100000) as i")
			ids = column[int64](f, "select id from modulo.outbox order by 1")
			b.StartTimer()
		}
		if err := worker.MarkDone(b.Context(), ids[:1000]); err != nil {
			b.Fatal(err)
		}
		ids = ids[1000:]
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
