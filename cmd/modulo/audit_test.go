package main

import (
	"encoding/json"
	"strings"
	"testing"

	"modulo/internal/operations"
)

// TestAudit: what commands change is recorded with who and why, and so is what was refused.
func TestAudit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exits(0, "once")
	f.ok("pause", "outbox", "--reason", "ticket 4711")
	f.ok("resume", "outbox", "--who", "ann")
	f.ok("workers", "set", "outbox", "3", "--who", "ann")
	f.ok("rows", "retry", "outbox", "--class", "refused", "--yes", "--who", "ann")
	f.refuses(exitRefused, []string{"0 rows match now, not 5"}, "rows", "discard", "outbox", "--yes", "--expect", "5", "--who", "ann")
	var page operations.Audit
	if err := json.Unmarshal([]byte(f.ok("audit", "outbox", "-o", "json")), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Entries) != 5 {
		t.Fatalf("%d entries: %+v", len(page.Entries), page)
	}
	first := page.Entries[4]
	if first.Who != systemUser() || !strings.Contains(first.Who, "@") || first.Reason != "ticket 4711" || first.Action != "pause" {
		t.Errorf("entry %+v", first)
	}
	first4 := f.exits(0, "audit", "--limit", "4")
	golden(t, "cli/audit.txt", maskedTable(first4.stdout))
	if !strings.Contains(first4.stderr, "there are more: raise --limit, or go on with --before 2\n") {
		t.Errorf("more than a page: %q", first4.stderr)
	}
	if lines := f.ok("audit", "outbox", "--before", "2"); strings.Count(lines, "\n") != 2 {
		t.Errorf("before entry 2:\n%s", lines)
	}
}

// TestLimits: a limit that would be cut, or taken for another, is refused.
func TestLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct{ command, limit, want string }{
		{"audit", "0", "1 to 1000"}, {"audit", "-3", "1 to 1000"}, {"audit", "5000", "1 to 1000"}, {"audit", "x", "1 to 1000"},
		{"passes outbox", "0", "1 to 1000"}, {"rows list outbox", "-5", "from 0 on"},
	} {
		f.refuses(exitUsage, []string{"--limit", c.want}, append(strings.Fields(c.command), "--limit="+c.limit)...)
	}
}

// TestAuditOfStatedWorkers: the K that an instance states at its start is its own doing.
func TestAuditOfStatedWorkers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exits(0, "once", "--workers", "2")
	f.exits(0, "once", "--workers", "3")
	f.exits(0, "once", "--workers", "3")
	audit := f.ok("audit")
	if strings.Count(audit, "change workers") != 1 || !strings.Contains(audit, "2 -> 3 workers") || !strings.Contains(audit, "instance ") {
		t.Errorf("audit:\n%s", audit)
	}
}

// TestOthersAtWork: what somebody else has under way is neither doubled nor taken back.
func TestOthersAtWork(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exits(0, "once", "--workers", "2")
	f.exec(`update modulo.jobs set next_workers = 8`)
	f.exec(`insert into modulo.audit (who, action, job, result) values ('bob', 'retry rows', 'outbox', 'under way')`)
	f.refuses(exitRefused, []string{`bob does "retry rows"`, "look again"}, "rows", "discard", "outbox", "--yes")
	f.refuses(exitRefused, []string{"from 2 to 8 workers by somebody else"}, "workers", "set", "outbox", "5", "--abort")
	f.ok("workers", "set", "outbox", "8", "--abort")
	f.refuses(exitRefused, []string{"is not being changed"}, "workers", "set", "outbox", "--abort")
}
