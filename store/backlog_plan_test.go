package store_test

import (
	"fmt"
	"strings"
	"testing"
)

// Counting for the metrics touches as many pages as its limit is worth, however many rows are pending: the first ones by the
// index, in order, and no more.
func TestBacklogPlan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("alter table modulo.outbox set (autovacuum_enabled = off)")
	byKey := outboxJob()
	byKey.Source.ShardBy = "key"
	const limit = 5000
	touched := map[string][]int{}
	for _, rows := range []int{20_000, 200_000} {
		f.exec(fmt.Sprintf("insert into modulo.outbox (payload, key) select repeat('x', 200), 'k' || i %% 1000 from generate_series(1, %d) as i", rows))
		f.exec("vacuum analyze modulo.outbox")
		for session, settings := range sessions() {
			for name, source := range map[string]string{"by id": f.source(outboxJob()).BacklogSQL(), "by key": f.source(byKey).BacklogSQL()} {
				plan := f.plan(settings, source, "bigint, bigint", fmt.Sprintf("5, %d", limit))
				if !strings.Contains(plan, "Index Scan using outbox_pending") || !strings.Contains(plan, "Limit") || strings.Contains(plan, "Seq Scan on outbox") {
					t.Errorf("%d rows, %s, %s:\n%s", rows, session, name, plan)
				}
				// 30 rows to a page, an entry of the index each, and a probe of failures
				if n := buffers(t, plan); n > 4*limit {
					t.Errorf("%d rows, %s, %s: %d pages, at most %d are needed:\n%s", rows, session, name, n, 4*limit, plan)
				} else {
					touched[session+name] = append(touched[session+name], n)
				}
			}
		}
	}
	for where, pages := range touched {
		if pages[1] > 2*pages[0] {
			t.Errorf("%s: %d pages with 20,000 rows, %d with 220,000", where, pages[0], pages[1])
		}
	}
}

// BenchmarkBacklog counts as the metrics do, at most 100,000 rows, of ever more pending ones; and with many failed ones.
func BenchmarkBacklog(b *testing.B) {
	f := newFixture(b)
	f.exec("alter table modulo.outbox set (autovacuum_enabled = off)")
	source, rows := f.source(outboxJob()), 0
	count := func(b *testing.B) {
		for b.Loop() {
			if _, err := source.Backlog(b.Context(), 5, 100_000); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, n := range []int{100_000, 1_000_000, 4_000_000} {
		f.exec(fmt.Sprintf("insert into modulo.outbox (payload) select repeat('x', 100) from generate_series(1, %d)", n-rows))
		f.exec("vacuum analyze modulo.outbox")
		rows = n
		b.Run(fmt.Sprintf("rows=%d", n), count)
	}
	f.exec(`insert into modulo.failures (job, row_id, key, event_id, attempts, failed_at, error_class, last_error)
		select 'outbox', i, '', '', 1, now(), 'refused', '' from generate_series(3000001, 3200000) as i; vacuum analyze modulo.failures`)
	b.Run("failed=200000", count)
}
