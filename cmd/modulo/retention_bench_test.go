package main

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// What a round of BenchmarkRetention delivers, and what is there to be removed meanwhile.
const (
	oldRows    = 1_000_000
	steadyFor  = 5 * time.Second
	steadyRows = 50 // every 50 ms
	burstRows  = 30_000
)

// retentionRound is what was seen of one round.
type retentionRound struct{ p50, p99, burst, removed float64 } // ms, ms, rows/s, rows/s

// BenchmarkRetention delivers to five workers, by turns with and without retention, which has a million old rows to delete:
// 1000 rows per second, whose latency counts, and then 30,000 at once. PostgreSQL and ActiveMQ sync to disk. An operation is a
// round of each; the medians are reported.
func BenchmarkRetention(b *testing.B) {
	pg := testservers.OwnPostgres(b, local.PostgresConfig{})
	f := fixtureOn(b, pg.URL("postgres"), testservers.OwnBroker(b))
	f.queue = "/queue/bench"
	f.ok("migrate", "up")
	f.exec(`insert into modulo.outbox (destination, payload, created_at, done_at)
		select $1, repeat('x', 512), now() - interval '2 days', now() - interval '1 day' from generate_series(1, $2::int)`, f.queue, oldRows)
	f.exec("vacuum analyze modulo.outbox")
	const job = "jobs: {outbox: {workers: 5, listen: true}}\n"
	settings := map[string]string{"off": job, "on": job + "retention: {done: 1m, every: 100ms}\n"}
	rounds := map[string][]retentionRound{}
	f.retentionRound(b, settings["off"]) // warms up
	for b.Loop() {
		for _, name := range []string{"off", "on"} {
			rounds[name] = append(rounds[name], f.retentionRound(b, settings[name]))
		}
	}
	for name, seen := range rounds {
		report := func(unit string, of func(retentionRound) float64) {
			values := make([]float64, len(seen))
			for i, round := range seen {
				values[i] = of(round)
			}
			slices.Sort(values)
			b.ReportMetric(values[len(values)/2], unit+"-"+name)
		}
		report("p50-ms", func(r retentionRound) float64 { return r.p50 })
		report("p99-ms", func(r retentionRound) float64 { return r.p99 })
		report("rows/s", func(r retentionRound) float64 { return r.burst })
		report("removed/s", func(r retentionRound) float64 { return r.removed })
	}
	b.ReportMetric(0, "ns/op")
}

// retentionRound runs an instance for one round.
func (f *fixture) retentionRound(b *testing.B, settings string) (round retentionRound) {
	const (
		insertSQL  = "insert into modulo.outbox (destination, payload) select $1, repeat('x', 512) from generate_series(1, $2::int)"
		latencySQL = `select percentile_cont($1) within group (order by 1000 * extract(epoch from done_at - created_at))
			from modulo.outbox where id > $2`
		removedSQL = "select coalesce(sum(removed), 0)::bigint from modulo.retention"
	)
	f.exec("update modulo.retention set expires_at = now()") // of the round before
	process, told := f.process("run", "--http", "off", "--config", write(b, "modulo.yaml", settings))
	f.exec(insertSQL, f.queue, 1000) // warms up
	f.drained()
	last, removed := one[int64](f, "select max(id) from modulo.outbox"), one[int64](f, removedSQL)
	clock := time.NewTicker(50 * time.Millisecond)
	defer clock.Stop()
	for range steadyFor / (50 * time.Millisecond) {
		f.exec(insertSQL, f.queue, steadyRows)
		<-clock.C
	}
	round.removed = float64(one[int64](f, removedSQL)-removed) / steadyFor.Seconds()
	f.drained()
	round.p50, round.p99 = one[float64](f, latencySQL, 0.5, last), one[float64](f, latencySQL, 0.99, last)
	began := time.Now()
	f.exec(insertSQL, f.queue, burstRows)
	f.drained()
	round.burst = burstRows / time.Since(began).Seconds()
	sendSignal(b, process.Process, syscall.SIGTERM)
	if code := exitCode(b, process, told); code != 0 {
		b.Errorf("exit code %d\n%s", code, told.String())
	}
	f.taken(f.queue) // full queues fill the broker's memory
	f.exec("vacuum modulo.outbox")
	return round
}
