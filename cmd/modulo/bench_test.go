package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modulo/internal/bench"
	"modulo/internal/testservers"
)

// TestBench measures on somebody's own servers, finds exactly the rows in the queue, and leaves nothing behind.
func TestBench(t *testing.T) {
	t.Parallel()
	database, mq := testservers.Database(t), testservers.Broker(t)
	f := fixtureOn(t, database, mq)
	f.env = map[string]string{"TMPDIR": t.TempDir()}
	file := filepath.Join(t.TempDir(), "bench.json")
	running, told := f.process("bench", "--database-url", database, "--broker-url", mq.URL(), "--cases", "ceiling,database,modulo",
		"--workers", "2", "--rounds", "1", "--rows", "3000", "--round-time", "100ms", "--json-file", file)
	if code := exitCode(t, running, told); code != 0 {
		t.Fatalf("exit code %d\n%s", code, told.String())
	}
	for _, name := range []string{"ceiling K=5 transaction", "database K=5", "modulo K=2 transaction"} {
		if !strings.Contains(told.String(), "\n"+name+" ") {
			t.Errorf("no case %q in:\n%s", name, told.String())
		}
	}
	var report bench.Report
	if text, err := os.ReadFile(file); err != nil || json.Unmarshal(text, &report) != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, c := range report.Cases {
		if c.Median.Rate <= 0 || c.Median.Rows < 1 || len(c.Rounds) != 1 {
			t.Errorf("%s: %+v", c.Name, c.Median)
		}
		if c.Kind == bench.Modulo && (c.Median.Allocations == nil || c.Median.PeakMemory == nil || *c.Median.PeakMemory <= 0) {
			t.Errorf("%s: no allocations or no memory: %+v", c.Name, c.Median)
		}
	}
	if n := one[int](f, "select count(*) from pg_database where datname like 'modulo\\_bench\\_%'"); n > 0 {
		t.Errorf("%d databases left behind", n)
	}
	if n := one[int](f, "select count(*) from modulo.jobs"); n > 0 {
		t.Errorf("%d jobs in the database of others", n)
	}
}

// TestBenchRefusals: what cannot be measured is said before anything is started.
func TestBenchRefusals(t *testing.T) {
	t.Parallel()
	s := shell{t: t}
	s.refuses(exitUsage, []string{"original", "--rivals"}, "bench", "--cases", "original")
	s.refuses(exitUsage, []string{"no case \"speed\"", "ceiling"}, "bench", "--cases", "speed")
	s.refuses(exitUsage, []string{"--broker-url"}, "bench", "--database-url", "postgres://127.0.0.1:1/nowhere")
	s.refuses(exitUsage, []string{"confirm \"maybe\""}, "bench", "--confirm", "maybe")
	s.refuses(exitUsage, []string{"rounds"}, "bench", "--rounds", "0")
}
