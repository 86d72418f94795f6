package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// wakings are ways in which passes of five workers begin.
var wakings = []struct{ name, job string }{
	{"every 500ms", "every: 500ms"},
	{"every 10ms", "every: 10ms"},
	{"listen", "every: 500ms, listen: true"},
}

// BenchmarkLatency inserts 100 rows per second, in a transaction each and at random times, between a PostgreSQL and an
// ActiveMQ that sync to disk. It reports the time from the begin of the transaction that inserts (created_at) to that of
// the transaction that marks (done_at), which begins when the receipt is there. cpu-% is of one core: modulo, and its
// sessions in PostgreSQL.
func BenchmarkLatency(b *testing.B) {
	benchmarkRunning(b, func(b *testing.B, f *fixture) {
		const latencySQL = `select percentile_cont($1) within group (order by 1000 * extract(epoch from done_at - created_at)) from modulo.outbox`
		for next := time.Now(); b.Loop(); next = next.Add(time.Duration(rand.ExpFloat64() * float64(10*time.Millisecond))) {
			time.Sleep(time.Until(next)) // a ticker would be in step with the clock of the schedule
			f.exec("insert into modulo.outbox (destination, payload) values ($1, repeat('x', 512))", f.queue)
		}
		f.drained()
		b.ReportMetric(one[float64](f, latencySQL, 0.5), "p50-ms")
		b.ReportMetric(one[float64](f, latencySQL, 0.99), "p99-ms")
	})
}

// BenchmarkIdle is what five workers cost that have nothing to do; an operation is a second.
func BenchmarkIdle(b *testing.B) {
	benchmarkRunning(b, func(b *testing.B, _ *fixture) {
		clock := time.NewTicker(time.Second)
		defer clock.Stop()
		for b.Loop() {
			<-clock.C
		}
	})
}

// benchmarkRunning measures modulo in a process of its own, warm, for each way of waking.
func benchmarkRunning(b *testing.B, measure func(*testing.B, *fixture)) {
	pg := testservers.OwnPostgres(b, local.PostgresConfig{})
	mq := testservers.OwnBroker(b)
	for _, waking := range wakings {
		b.Run(waking.name, func(b *testing.B) {
			database := "bench_" + strconv.FormatInt(time.Now().UnixNano(), 36)
			if _, err := testservers.Connect(b, pg.URL("postgres")).Exec(b.Context(), "create database "+database); err != nil {
				b.Fatal(err)
			}
			f := fixtureOn(b, pg.URL(database), mq)
			f.queue = "/queue/bench"
			f.ok("migrate", "up")
			config := write(b, "modulo.yaml", fmt.Sprintf("jobs:\n  outbox: {workers: 5, %s}\n", waking.job))
			running, told := f.process("run", "--config", config)
			for range 10 {
				f.exec("insert into modulo.outbox (destination, payload) select $1, 'x' from generate_series(1, 100)", f.queue)
				f.drained()
			}
			if strings.Contains(waking.job, "listen: true") {
				await(b, "listening", func() bool { return strings.Contains(told.String(), "listening for inserts") })
			}
			f.exec("truncate modulo.outbox")
			spent, begun := cpuTimes(f, running.Process), time.Now()
			measure(b, f)
			took := time.Since(begun).Seconds()
			for who, now := range cpuTimes(f, running.Process) {
				b.ReportMetric(100*(now-spent[who]).Seconds()/took, who+"-cpu-%")
			}
			b.ReportMetric(0, "ns/op")
			sendSignal(b, running.Process, syscall.SIGTERM)
			if code := exitCode(b, running, told); code != 0 {
				b.Errorf("exit code %d\n%s", code, told.String())
			}
			f.taken(f.queue) // full queues fill the broker's memory
		})
	}
}

// cpuTimes is what modulo and its sessions have used. Sessions that are opened later count from their begin.
func cpuTimes(f *fixture, modulo *os.Process) map[string]time.Duration {
	f.t.Helper()
	times := map[string]time.Duration{"modulo": cpuTime(f.t, modulo.Pid)}
	const sessions = "select array_agg(pid) from pg_stat_activity where datname = current_database() and application_name = 'modulo'"
	for _, pid := range one[[]int](f, sessions) {
		times["postgres"] += cpuTime(f.t, pid)
	}
	return times
}

// cpuTime reads what the kernel has counted for a process, in hundredths of a second.
func cpuTime(t testing.TB, pid int) (total time.Duration) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on, see proc(5)
	for _, field := range fields[14-3 : 16-3] {
		ticks, err := strconv.Atoi(string(field))
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total
}
