package store_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// triggerStates are what BenchmarkWriters compares, by what brings each of them about.
var triggerStates = []struct{ name, sql string }{
	{"none", `drop trigger if exists outbox_rows on modulo.outbox`},
	{"disabled", `create trigger outbox_rows after insert on modulo.outbox for each statement execute function modulo.notify_rows();
		alter table modulo.outbox disable trigger outbox_rows`},
	{"enabled", `alter table modulo.outbox enable trigger outbox_rows`},
}

// BenchmarkWriters measures inserts, in transactions of one statement, into a PostgreSQL that syncs to disk, by the state
// of the trigger that announces them, while one session listens. An operation is a round of half a second for each state;
// reported are the medians of all rounds, in rows per second, and the share of "none" that is left with "enabled".
func BenchmarkWriters(b *testing.B) {
	pg := testservers.OwnPostgres(b, local.PostgresConfig{})
	for _, rows := range []int{1, 100} {
		for _, writers := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("rows=%d/writers=%d", rows, writers), func(b *testing.B) {
				url := pg.URL("postgres")
				f := &fixture{t: b, url: url, DB: open(b, store.Config{URL: url}), conn: testservers.Connect(b, url)}
				if _, err := f.MigrateUp(b.Context()); err != nil {
					b.Fatal(err)
				}
				f.exec("truncate modulo.outbox")
				f.listen(store.WakeupConfig{Jobs: []*jobs.Job{listening(outboxJob())}}).awaitBegin()
				conns := make([]*pgx.Conn, writers)
				for i := range conns {
					conns[i] = testservers.Connect(b, url)
				}
				rates := map[string][]float64{}
				for b.Loop() {
					for _, state := range triggerStates {
						f.exec(state.sql)
						rates[state.name] = append(rates[state.name], float64(rows)*statementsPerSecond(b, conns, rows))
					}
				}
				medians := map[string]float64{}
				for name, all := range rates {
					slices.Sort(all)
					medians[name] = all[len(all)/2]
					b.ReportMetric(medians[name], name+"-rows/s")
				}
				b.ReportMetric(100*medians["enabled"]/medians["none"], "enabled-%")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// statementsPerSecond inserts on all connections for half a second.
func statementsPerSecond(b *testing.B, conns []*pgx.Conn, rows int) float64 {
	ctx, cancel := context.WithTimeout(b.Context(), time.Second/2)
	defer cancel()
	done := make([]int, len(conns))
	var writing sync.WaitGroup
	begun := time.Now()
	for i, conn := range conns {
		writing.Go(func() {
			for ctx.Err() == nil {
				const insert = `insert into modulo.outbox (payload) select repeat('x', 512) from generate_series(1, $1::int)`
				if _, err := conn.Exec(b.Context(), insert, rows); err != nil {
					b.Error(err)
					return
				}
				done[i]++
			}
		})
	}
	writing.Wait()
	total := 0
	for _, n := range done {
		total += n
	}
	return float64(total) / time.Since(begun).Seconds()
}
