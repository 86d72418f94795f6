package main

import (
	"encoding/json"
	"strings"
	"testing"

	"modulo/internal/local"
)

// status --watch goes on until it is stopped, which is its normal end: blocks of text, or one line of JSON each time.
func TestWatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	blocks, lines := f.start("status", "--watch=100ms"), f.start("status", "outbox", "-o", "json", "--watch=100ms")
	await(t, "three blocks", func() bool { return strings.Count(blocks.out.String(), "outbox") >= 3 })
	f.exec("insert into modulo.outbox (payload) select '' from generate_series(1, 7)")
	await(t, "the rows show", func() bool {
		return strings.Contains(blocks.out.String(), " 7 ") && strings.Contains(lines.out.String(), `"backlog":7`)
	})
	for _, b := range []*background{blocks, lines} {
		if code := b.end(); code != 0 || strings.Contains(b.out.String(), "\x1b") || b.err.String() != "" {
			t.Errorf("exit code %d:\n%.2000s%s", code, b.out.String(), b.err.String())
		}
	}
	for line := range strings.Lines(lines.out.String()) {
		var status []map[string]any
		if err := json.Unmarshal([]byte(line), &status); err != nil || len(status) != 1 {
			t.Errorf("%v: %s", err, line)
		}
	}
	f.refuses(exitUsage, []string{"--watch=1ms"}, "status", "--watch=1ms")
	f.refuses(exitUnreachable, []string{"127.0.0.1:1"}, "status", "--watch", "--database-url", "postgres://127.0.0.1:1/none")
}

// A watch outlives an outage.
func TestWatchThroughTrouble(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	watching := f.start("status", "--watch=100ms")
	await(t, "a block", func() bool { return strings.Contains(watching.out.String(), "outbox") })
	f.exec("alter table modulo.failures rename to hidden")
	await(t, "the error", func() bool { return strings.Contains(watching.err.String(), "failures") })
	seen := strings.Count(watching.out.String(), "outbox")
	f.exec("alter table modulo.hidden rename to failures")
	await(t, "it goes on", func() bool { return strings.Count(watching.out.String(), "outbox") > seen })
}

// On a terminal each block is painted over the last.
func TestRepaint(t *testing.T) {
	t.Parallel()
	var out local.Output
	p := painter{app: &app{terminal: terminal{out: &out}}, repaint: true}
	for _, block := range []string{"JOB\none\ntwo\n", "JOB\none\n", "JOB\n"} {
		if err := p.paint([]byte(block), asTable); err != nil {
			t.Fatal(err)
		}
	}
	got := timestamp.ReplaceAllString(out.String(), "TIME")
	if want := "TIME\nJOB\none\ntwo\n\x1b[4A\x1b[JTIME\nJOB\none\n\x1b[3A\x1b[JTIME\nJOB\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
