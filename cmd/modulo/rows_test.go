package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"modulo/internal/operations"
)

const badRowsConfig = `
jobs:
  mixed:
    source: {table: mixed, id: id, where: not done}
    done: {set: done = true}
    message:
      destination: "{destination}"
      payload: payload
      max_body: 1000
      headers: {type: "{type}", tenant: "t-{tenant}"}
      headers_column: headers
      event_id: "mixed-{id}"
`

// badRows are changes to good rows, each of which makes one row bad in its own way.
var badRows = map[int]string{
	500:  `payload = repeat('x', 1001)`,
	1000: `headers = '{"a": "\u0000"}'`,
	1500: `headers = '{"bad name": "x"}'`,
	2000: `headers = '{"expires": "1"}'`,
	2001: `headers = '{"event_id": "x"}'`,
	2500: `headers = '{"a": "1", "a": "2"}'`,
	2501: `headers = '{"tenant": "another"}'`,
	3000: `destination = '/topic/mixed'`,
	3001: `destination = destination || ',/queue/second'`,
	3002: `destination = destination || '?consumer.exclusive=true'`,
	3003: `destination = '/queue/ActiveMQ.DLQ'`,
	3004: `destination = null`,
	3500: `payload = null`,
	4000: `tenant = null`,
	4500: `headers = '[1]'`,
	4501: `headers = '{"a": 1}'`,
	4502: `headers = json_build_object('a', repeat(':', 4100))`,
	4503: `headers = '{"reply-to": "/queue/mixed"}'`,
}

// newBadRows is a table of 10,000 good rows and the bad ones among them.
func newBadRows(t *testing.T) (f *fixture, good int) {
	f = newFixture(t)
	f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", badRowsConfig)
	good = 10_000
	f.exec(`create table mixed (id bigint primary key, destination text, type text, tenant text, payload text, headers json,
		done boolean not null default false)`)
	f.exec(`insert into mixed (id, destination, tenant, payload) select n, $1, 'x', n from generate_series(1, $2::int) as n`,
		f.queue, good+len(badRows))
	for id, change := range badRows {
		f.exec("update mixed set " + change + fmt.Sprintf(" where id = %d", id))
	}
	return f, good
}

// TestBadRows: among 10,000 good rows each bad one stops nobody, is listed with its class and reason, and is sent once
// it was put right.
func TestBadRows(t *testing.T) {
	t.Parallel()
	f, good := newBadRows(t)
	a := f.exits(exitFailedRows, "once")
	if want := fmt.Sprintf("%d rows failed: see `modulo rows list mixed`", len(badRows)); !strings.Contains(a.stderr, want) {
		t.Errorf("no %q on stderr", want)
	}
	arrived := headers(f.taken(f.queue), "event_id")
	slices.Sort(arrived)
	if distinct := slices.Compact(slices.Clone(arrived)); len(arrived) != good || len(distinct) != good {
		t.Fatalf("%d messages, %d distinct, want %d", len(arrived), len(distinct), good)
	}
	for id := range badRows {
		if _, found := slices.BinarySearch(arrived, fmt.Sprint("mixed-", id)); found {
			t.Errorf("bad row %d was sent", id)
		}
	}
	golden(t, "cli/rows-list.txt", strings.ReplaceAll(maskedTable(f.ok("rows", "list", "mixed")), f.queue, "/queue/OWN"))
	golden(t, "cli/rows-list.json", strings.ReplaceAll(masked(f.ok("rows", "list", "mixed", "-o", "json")), f.queue, "/queue/OWN"))
	golden(t, "cli/rows-show.txt", maskedTable(f.ok("rows", "show", "mixed", "500")))
	golden(t, "cli/rows-show.json", masked(f.ok("rows", "show", "mixed", "500", "-o", "json")))

	if a := f.exits(0, "once"); strings.Contains(a.stderr, `"message":"pass"`) {
		t.Errorf("a second pass touched the failed rows:\n%s", a.stderr)
	}
	checkFilters(t, f)
	checkRetry(t, f)
	checkDiscard(t, f)
}

// ids are the rows that rows list lists.
func (f *fixture) ids(args ...string) []int64 {
	f.t.Helper()
	var lines []operations.Failure
	if err := json.Unmarshal([]byte(f.ok(append([]string{"rows", "list", "mixed", "-o", "json"}, args...)...)), &lines); err != nil {
		f.t.Fatal(err)
	}
	ids := make([]int64, len(lines))
	for i, line := range lines {
		ids[i] = line.RowID
	}
	return ids
}

func checkFilters(t *testing.T, f *fixture) {
	t.Helper()
	for _, test := range []struct {
		flags string
		want  []int64
	}{
		{"--class not_allowed", []int64{3000, 3001, 3002, 3003, 4503}},
		{"--class too_large", []int64{500, 4502}},
		{"--class refused", []int64{}},
		{"--id 4000,500,1", []int64{500, 4000}},
		{"--id 500 --class not_allowed", []int64{}},
		{"--state failed --limit 2", []int64{500, 1000}},
		{"--state retrying", []int64{}},
		{"--since 1h --limit 1", []int64{500}},
		{"--key unknown", []int64{}},
	} {
		if got := f.ids(strings.Fields(test.flags)...); !slices.Equal(got, test.want) {
			t.Errorf("rows list %s: %v, want %v", test.flags, got, test.want)
		}
	}
	if a := f.exits(0, "rows", "list", "mixed", "--limit", "2"); !strings.Contains(a.stderr, "listed 2 of 18") {
		t.Errorf("nothing says that there are more: %q", a.stderr)
	}
	f.refuses(exitUsage, []string{"--class", "nonsense"}, "rows", "list", "mixed", "--class", "nonsense")
	f.refuses(exitUsage, []string{"--state", "nonsense"}, "rows", "retry", "mixed", "--state", "nonsense")
	f.refuses(exitUsage, []string{"--id"}, "rows", "retry", "mixed", "--id", "one")
	f.refuses(exitUsage, []string{"one"}, "rows", "show", "mixed", "one")
	f.refuses(exitRefused, []string{"job mixd", "no such job"}, "rows", "list", "mixd")
	f.refuses(exitRefused, []string{"job mixd", "no such job"}, "rows", "retry", "mixd", "--yes")
	f.refuses(exitRuntime, []string{"job mixed, row 1", "no failure record"}, "rows", "show", "mixed", "1")
}

// checkRetry puts two rows right; a third one is tried again as bad as it was.
func checkRetry(t *testing.T, f *fixture) {
	t.Helper()
	f.exec(`update mixed set payload = 'smaller' where id = 500`)
	f.exec(`update mixed set headers = '{"a": "line\nbreak"}' where id = 1000`)
	if told := f.ok("rows", "retry", "mixed", "--id", "500,1000", "--dry-run", "--yes"); told != "2 rows match\n" {
		t.Errorf("dry run: %q", told)
	}
	f.refuses(exitRefused, []string{"nothing was changed", "--yes"}, "rows", "retry", "mixed", "--id", "500,1000")
	f.ok("once")
	if left := f.taken(f.queue); len(left) > 0 {
		t.Fatalf("%d messages were sent without a yes", len(left))
	}
	if told := f.ok("rows", "retry", "mixed", "--id", "500,1000", "--yes"); told != "2 rows will be tried again\n" {
		t.Errorf("retry: %q", told)
	}
	f.ok("once")
	sent := f.taken(f.queue)
	if ids := headers(sent, "row_id"); len(ids) != 2 || !slices.Contains(ids, "500") || !slices.Contains(ids, "1000") {
		t.Errorf("sent after the fix: %v", ids)
	}
	if left := f.ids("--id", "500,1000"); len(left) > 0 {
		t.Errorf("still listed: %v", left)
	}
	f.ok("rows", "retry", "mixed", "--id", "1500", "--yes")
	f.exits(exitFailedRows, "once")
	if left := f.ids("--state", "failed", "--id", "1500"); len(left) != 1 {
		t.Errorf("a row that was not put right is no longer listed")
	}
}

// checkDiscard gives rows up.
func checkDiscard(t *testing.T, f *fixture) {
	t.Helper()
	if told := f.ok("rows", "discard", "mixed", "--class", "not_allowed", "--dry-run"); told != "5 rows match\n" {
		t.Errorf("dry run: %q", told)
	}
	f.refuses(exitRefused, []string{"nothing was changed", "--yes"}, "rows", "discard", "mixed", "--class", "not_allowed")
	told := f.ok("rows", "discard", "mixed", "--class", "not_allowed", "--yes")
	if told != "5 rows will be marked done without being sent\n" {
		t.Errorf("discard: %q", told)
	}
	if waiting := f.ids("--state", "discarded"); len(waiting) != 5 {
		t.Errorf("discarded and waiting for their worker: %v", waiting)
	}
	f.ok("once")
	if left := f.taken(f.queue); len(left) > 0 {
		t.Errorf("%d discarded rows were sent", len(left))
	}
	if left := f.ids("--class", "not_allowed"); len(left) > 0 {
		t.Errorf("still listed: %v", left)
	}
	if done := one[int](f, "select count(*) from mixed where done and id = any($1)", []int{3000, 3001, 3002, 3003, 4503}); done != 5 {
		t.Errorf("%d of 5 discarded rows are done", done)
	}
}
