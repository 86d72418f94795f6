package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"modulo/internal/operations"
)

// TestPasses: what the service did can be looked up afterwards, up to its last batch; passes without rows leave nothing.
func TestPasses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (destination, payload) select $1, n from generate_series(1, 50) as n", f.queue)
	running := f.start("run", "--every", "20ms", "--workers", "2")
	f.drained()
	if code := running.end(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, running.err.String())
	}
	var page operations.PastPasses
	if err := json.Unmarshal([]byte(f.ok("passes", "outbox", "-o", "json")), &page); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, p := range page.Passes {
		sent += p.Sent
		if p.Worker == nil || *p.Worker > 1 || p.Passes < 1 || p.Result != "complete" || p.EndedAt.Before(p.BeganAt) || !strings.Contains(p.Instance, " pid ") {
			t.Errorf("pass %+v", p)
		}
	}
	if sent != 50 {
		t.Errorf("%d rows in %+v", sent, page.Passes)
	}
	f.exec(`insert into modulo.passes values ('outbox', -1, 'here pid 7', '2030-01-02', '2030-01-02', 2, 0, 0, 0, 0, 0, 'missed', 'no instance owned them')`)
	golden(t, "cli/passes.txt", maskedTable(f.ok("passes", "outbox", "--trouble")))
	if a := f.exits(0, "passes", "outbox", "--limit", "1"); !strings.Contains(a.stderr, "--before 2030-01-02T00:00:00Z_-1\n") {
		t.Errorf("more than a page: %q", a.stderr)
	}
	f.refuses(exitUsage, []string{`"1001" for "--limit"`, "1 to 1000"}, "passes", "outbox", "--limit", "1001")
	f.refuses(exitUsage, []string{"not a place in the history"}, "passes", "outbox", "--before", "yesterday")
	f.refuses(exitRefused, []string{"no such job"}, "passes", "outbx")
}

// TestPassesOfOnce: whoever runs once by a cron of their own finds what it did, and how it ended, where that of run is.
func TestPassesOfOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	history := func() (lines []string) {
		t.Helper()
		var page operations.PastPasses
		if err := json.Unmarshal([]byte(f.ok("passes", "outbox", "-o", "json")), &page); err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Passes {
			lines = append(lines, fmt.Sprintf("%d %s %d %t", *p.Worker, p.Result, p.Sent, p.Problem != ""))
		}
		slices.Sort(lines)
		return lines
	}
	f.ok("once", "--workers", "2")
	if got := history(); got != nil {
		t.Errorf("passes without rows left %q", got)
	}
	f.exec("insert into modulo.outbox (destination, payload) select $1, n from generate_series(1, 50) as n", f.queue)
	f.exits(exitUnreachable, "once", "--broker-url", "stomp://127.0.0.1:1")
	f.ok("once")
	if got := history(); !slices.Equal(got, []string{"0 complete 25 false", "0 ended early 0 true", "1 complete 25 false", "1 ended early 0 true"}) {
		t.Errorf("history %q", got)
	}
	if got := one[int](f, "select sum(done)::int from modulo.progress"); got != 50 {
		t.Errorf("%d rows are noted as done", got)
	}
}
