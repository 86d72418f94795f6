package store_test

import (
	"fmt"
	"strings"
	"testing"

	"modulo/jobs"
	"modulo/store"
)

// hotRows is enough that a wrong plan would be cheaper in the planner's eyes, if it were allowed one.
const hotRows = 40_000

const analysed = "analysed"

// hotStatement is one that is run again and again.
type hotStatement struct {
	name, sql   string
	types, args string
	index       string // what the plan must name
	pages       int    // at most
}

// hotStatements are those of a source whose rows from hotRows/2 on are pending.
func hotStatements(f *fixture, source *store.Source, pendingIndex, uniqueIndex string) []hotStatement {
	ids := column[string](f, fmt.Sprintf("select quote_literal(array_agg(i)::text) from generate_series(%d, %d) as i", hotRows/2+1, hotRows/2+100))[0]
	batch := fmt.Sprintf("%s, %d, %d", ids, hotRows/2+1, hotRows/2+100)
	// A batch of 100 rows that every 64th is one of takes 6,400 of 20 to a page, and two probes of failures per row.
	hot := []hotStatement{
		{"front", source.FrontSQL(), "", "", pendingIndex, 1000}, // the first one walks over what is done
		{"mark", source.MarkSQL(), "bigint[], bigint, bigint, bigint", batch + ", 1", uniqueIndex, 3000},
		{"settle", source.SettleSQL(), "bigint[], bigint, bigint, bigint", batch + ", 1", uniqueIndex, 3000},
		{"pending", source.PendingSQL(), "bigint[], bigint, bigint", batch, "Index Cond: ((id = ANY", 1000},
		{"due", source.DueSQL(), "bigint, bigint, bigint, bigint", "5, 3, 1000, -9223372036854775808", "failures_due", 50},
		{"backlog", source.BacklogSQL(), "bigint, bigint", "5, 1000", pendingIndex, 4000},
	}
	for _, shard := range []jobs.Shard{{Of: 1}, {Number: 3, Of: 5}, {Number: 63, Of: 64}} {
		for _, from := range []int64{jobs.FirstID, hotRows / 2, hotRows - 100} {
			hot = append(hot, hotStatement{fmt.Sprintf("fetch of %d/%d from %d", shard.Number, shard.Of, from),
				source.FetchSQL(shard), "bigint, bigint", fmt.Sprintf("%d, 100", from), pendingIndex, 2000})
		}
	}
	return hot
}

// wrongPlan says what is wrong with how a hot statement was run.
func (h hotStatement) wrongPlan(t testing.TB, plan string) string {
	switch {
	case !strings.Contains(plan, h.index):
		return "does not use " + h.index
	case strings.Contains(plan, "Seq Scan on outbox") || strings.Contains(plan, "Seq Scan on invoice"):
		return "reads the whole table"
	case strings.Contains(plan, "Sort Key: t."):
		return "sorts"
	case strings.Contains(plan, "Join Filter"):
		return "looks for a failure of each row among all of them"
	}
	if n := buffers(t, plan); n > h.pages {
		return fmt.Sprintf("touches %d pages, %d would do", n, h.pages)
	}
	return ""
}

// TestHotPlans looks at every statement that is run again and again, on Modulo's own table and on others, whatever the
// statistics say of them: nothing yet, what is true, or what was true once.
func TestHotPlans(t *testing.T) {
	t.Parallel()
	ownByID := invoiceJob()
	ownByID.Source.ShardBy, ownByID.Ordered = "", false
	for _, c := range []struct {
		name           string
		table          bigTable
		job            *jobs.Job
		pending, whole string
	}{
		{"outbox", bigTables[0], outboxJob(), "outbox_pending", "outbox_pkey"},
		{"outbox by key", bigTables[0], keyedJob(), "outbox_pending", "outbox_pkey"},
		{"own", bigTables[1], ownByID, "invoice_id_idx", "invoice_pkey"},
		{"own by key", bigTables[1], invoiceJob(), "invoice_id_idx", "invoice_pkey"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(c.table.create)
			f.exec(fmt.Sprintf("alter table %s set (autovacuum_enabled = off)", c.job.Source.Table))
			f.exec(fmt.Sprintf(c.table.insert, hotRows))
			f.exec(fmt.Sprintf(c.table.done, fmt.Sprintf("id <= %d", hotRows/2)))
			f.exec(fmt.Sprintf(`insert into modulo.failures (job, row_id, key, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
				select %s, i, 'other' || i, '', 8, now(), now(), 'refused', '' from generate_series(1000001, 1010000) as i`, "'"+c.job.Name+"'"))
			check := func(when string) {
				t.Helper()
				source := f.source(c.job)
				for session, settings := range sessions() {
					if session == "pooled" && when != analysed {
						continue // without our settings, rows that are few in the planner's eyes are read and sorted
					}
					for _, hot := range hotStatements(f, source, c.pending, c.whole) {
						f.exec("begin")
						plan := f.plan(settings, hot.sql, hot.types, hot.args)
						f.exec("rollback")
						if wrong := hot.wrongPlan(t, plan); wrong != "" {
							t.Errorf("%s, %s, %s: %s:\n%s", hot.name, when, session, wrong, plan)
						}
					}
				}
			}
			check("just loaded")
			f.exec("vacuum analyze")
			check(analysed)
			f.exec(fmt.Sprintf(c.table.done, "true") + "; analyze; truncate " + c.job.Source.Table + " restart identity")
			f.exec(fmt.Sprintf(c.table.insert, hotRows))
			f.exec(fmt.Sprintf(c.table.done, fmt.Sprintf("id <= %d", hotRows/2)))
			check("analysed when nothing was pending")
		})
	}
}
