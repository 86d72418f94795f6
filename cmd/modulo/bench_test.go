package main

import (
	"crypto/rand"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"modulo/internal/bench"
	"modulo/internal/local"
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
	f.mustHaveDropped(told)
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

// mustHaveDropped fails the test if the database that a benchmark made is still there.
func (f *fixture) mustHaveDropped(told *local.Output) {
	f.t.Helper()
	name := regexp.MustCompile(`modulo_bench_\w+`).FindString(told.String())
	if name == "" || one[int](f, "select count(*) from pg_database where datname = $1", name) > 0 {
		f.t.Errorf("the database %q is there, or was never made:\n%s", name, told.String())
	}
}

// TestBenchInterrupted: Ctrl-C in the middle of a round leaves nothing behind.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	database, mq := testservers.Database(t), testservers.Broker(t)
	f := fixtureOn(t, database, mq)
	dir := t.TempDir()
	f.env = map[string]string{"TMPDIR": dir}
	running, told := f.process("bench", "--database-url", database, "--broker-url", mq.URL(), "--cases", "modulo", "--workers", "2",
		"--rows", "1000")
	await(t, "a round", func() bool { return strings.Contains(told.String(), "warm-up") })
	sendSignal(t, running.Process, syscall.SIGINT)
	if code := exitCode(t, running, told); code != 130 {
		t.Errorf("exit code %d\n%s", code, told.String())
	}
	f.mustHaveDropped(told)
	if left, err := filepath.Glob(dir + "/*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if left := processesIn(t, dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

// TestBenchWithoutRights: who may not make a database is told so, and nothing is made.
func TestBenchWithoutRights(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	role := "bench_" + strings.ToLower(rand.Text()[:8])
	f.exec("create role " + role + " login password 'secret'")
	address, err := url.Parse(f.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.UserPassword(role, "secret")
	f.refuses(exitRefused, []string{"create database modulo_bench_", "permission denied"},
		"bench", "--database-url", address.String(), "--broker-url", f.mq.URL())
	f.exec("drop role " + role)
}
