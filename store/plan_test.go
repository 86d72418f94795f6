package store_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"modulo/jobs"
	"modulo/store"
)

// sessions are the two kinds there are: with our settings, and behind a pooler.
func sessions() map[string]string {
	direct := ""
	for name, value := range store.PlanSettings() {
		direct += fmt.Sprintf("set %s = %s; ", name, value)
	}
	return map[string]string{"direct": direct, "pooled": "set plan_cache_mode = force_custom_plan"}
}

// plan runs a statement of ours and returns how.
func (f *fixture) plan(settings, statement, types, args string) string {
	f.t.Helper()
	f.exec("deallocate all; reset all; " + settings)
	if types != "" {
		types, args = "("+types+")", "("+args+")"
	}
	f.exec(fmt.Sprintf("prepare statement%s as %s", types, statement))
	return strings.Join(column[string](f, "explain (analyze, buffers, costs off, timing off, summary off) execute statement"+args), "\n")
}

var buffersPattern = regexp.MustCompile(`Buffers: shared hit=(\d+)(?: read=(\d+))?`)

// buffers is how many pages a plan touched in all: the first line has the sum.
func buffers(t testing.TB, plan string) int {
	t.Helper()
	match := buffersPattern.FindStringSubmatch(plan)
	if match == nil {
		t.Fatalf("no buffers in\n%s", plan)
	}
	hit, _ := strconv.Atoi(match[1])
	read, _ := strconv.Atoi(match[2] + "0")
	return hit + read/10
}

// fromCursor is an index condition on a parameter that is known when the statement runs only.
var fromCursor = regexp.MustCompile(`Index Cond: \(id >= \$\d\)`)

// The fetch uses the index of pending rows, reads them in order without sorting, and touches few pages, whatever the
// statistics say.
func TestFetchPlan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`alter table modulo.outbox set (autovacuum_enabled = off);
		insert into modulo.outbox (payload, key) select repeat('x', 200), 'k' || i % 1000 from generate_series(1, 200000) as i; analyze`)
	plain, byKey := outboxJob(), outboxJob()
	byKey.Source.ShardBy, byKey.Ordered = "key", true
	check := func(when string, most int) {
		t.Helper()
		for session, settings := range sessions() {
			for _, job := range []*jobs.Job{plain, byKey} {
				source := f.source(job)
				for _, shard := range []jobs.Shard{{Number: 0, Of: 1}, {Number: 3, Of: 5}, {Number: 63, Of: 64}} {
					for _, from := range []int64{jobs.FirstID, 190_000} {
						plan := f.plan(settings, source.FetchSQL(shard), "bigint, bigint", fmt.Sprintf("%d, 1000", from))
						where := fmt.Sprintf("%s, %s, worker %d of %d from %d, ordered %v", when, session, shard.Number, shard.Of, from, job.Ordered)
						if !strings.Contains(plan, "Index Scan using outbox_pending") || !fromCursor.MatchString(plan) ||
							strings.Contains(plan, "Sort") || strings.Contains(plan, "Seq Scan on outbox") {
							t.Errorf("%s:\n%s", where, plan)
						}
						if n := buffers(t, plan); shard.Of <= 5 && n > most {
							t.Errorf("%s: %d pages, at most %d are needed:\n%s", where, n, most, plan)
						}
					}
				}
			}
		}
	}
	// 5,000 rows, 30 to a page, and in the ordered job a probe of failures for each of the 1,000 that are wanted.
	check("all pending", 8000)
	f.exec("update modulo.outbox set done_at = now() where id % 100 <> 0")
	f.exec("vacuum modulo.outbox")
	check("1 % pending, statistics say all", 8000)
	f.exec("analyze")
	check("1 % pending", 8000)
	f.exec("update modulo.outbox set done_at = now() where id < 199000")
	f.exec("vacuum analyze modulo.outbox")
	check("nearly none pending", 1000)
	f.exec("insert into modulo.outbox (payload, key) select repeat('x', 200), 'k' || i % 1000 from generate_series(1, 100000) as i")
	check("many pending, statistics say none", 8000)
}

// A look-up of a failure is a probe of an index per row, with few and with many failures, and also where the plan was
// made before they came.
func TestFetchPlanWithFailures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (payload, key) select 'x', 'k' || i % 1000 from generate_series(1, 20000) as i`)
	f.exec("vacuum analyze")
	job := outboxJob()
	job.Source.ShardBy, job.Ordered = "key", true
	source := f.source(job)
	explain := "explain (analyze, buffers, costs off, timing off, summary off) execute statement(-9000000000000000000, 1000)"
	f.exec(sessions()["direct"])
	f.exec("prepare statement(bigint, bigint) as " + source.FetchSQL(jobs.Shard{Number: 3, Of: 5}))
	check := func(when string) {
		t.Helper()
		plan := strings.Join(column[string](f, explain), "\n")
		if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Join") || strings.Contains(plan, "Hash") || strings.Contains(plan, "Sort") {
			t.Errorf("%s:\n%s", when, plan)
		}
		if n := buffers(t, plan); n > 20_000 {
			t.Errorf("%s: %d pages:\n%s", when, n, plan)
		}
	}
	check("no failures")
	f.exec(`insert into modulo.failures (job, row_id, key, event_id, attempts, next_attempt_at, error_class, last_error)
		select j, i, 'other' || i % 5000, '', 1, now() + interval '1 hour', 'refused', '' from generate_series(1000001, 1200000) as i, unnest(array['outbox']) as j`)
	check("200,000 failures, planned before they came")
	f.exec("analyze modulo.failures")
	check("200,000 failures")
	due := f.plan(sessions()["direct"], source.DueSQL(), "bigint, bigint, bigint, bigint", "5, 3, 1000, -9000000000000000000")
	if n := buffers(t, due); !strings.Contains(due, "failures_due") || n > 10 {
		t.Errorf("nothing is due, %d pages:\n%s", n, due)
	}
}

// The done mark goes by the unique index, and only to the partitions that have the rows.
func TestMarkPlan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table own (id int primary key, payload text, sent_at timestamptz) partition by range (id);
		create table own_1 partition of own for values from (minvalue) to (10000);
		create table own_2 partition of own for values from (10000) to (20000);
		create table own_3 partition of own for values from (20000) to (maxvalue);
		create index on own (id) where sent_at is null;
		insert into own select i, repeat('x', 100) from generate_series(0, 29999) as i; analyze`)
	source := f.source(tableJob("own"))
	ids := column[string](f, "select quote_literal(array_agg(i)::text) from generate_series(12000, 12999) as i")[0]
	for session, settings := range sessions() {
		f.exec("begin")
		plan := f.plan(settings, source.MarkSQL(), "bigint[], bigint, bigint, bigint", ids+", 12000, 12999, 1")
		f.exec("rollback")
		if strings.Contains(plan, "Seq Scan") || !strings.Contains(plan, "own_2_pkey") || strings.Contains(plan, "own_3_pkey") {
			t.Errorf("%s:\n%s", session, plan)
		}
	}
	fetch := f.plan(sessions()["direct"], source.FetchSQL(jobs.Shard{Number: 1, Of: 5}), "bigint, bigint", "15000, 100")
	if !strings.Contains(fetch, "(never executed)") || strings.Contains(fetch, "Sort") {
		t.Errorf("partitions below the cursor are read:\n%s", fetch)
	}
}
