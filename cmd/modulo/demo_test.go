package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"modulo/internal/local"
)

// TestDemo: the demo drains its rows, finds nothing missing, and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir, err := local.TempDir("modulo-test-*") // which the demo's servers can enter, too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := shell{t: t, env: map[string]string{"TMPDIR": dir, "DATABASE_URL": "postgres://127.0.0.1:1/not-to-be-used"}}
	demo, told := s.process("demo", "--rows", "2000", "--exit")
	code := exitCode(t, demo, told)
	if code != 0 || !strings.Contains(told.String(), "inserted 2000, arrived 2000, missing 0, repeated 0\n") {
		t.Errorf("exit code %d\n%s", code, told.String())
	}
	if strings.Contains(told.String(), "\x1b") || strings.Contains(told.String(), "\r") {
		t.Errorf("repainted where nobody looks: %q", told.String())
	}
	if stray := regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d .*`).FindString(told.String()); stray != "" {
		t.Errorf("a library's own log: %s", stray)
	}
	if left, err := filepath.Glob(dir + "/*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if left := processesIn(t, dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	s.refuses(exitUsage, []string{"--rows 0"}, "demo", "--rows", "0")
}

// processesIn lists the processes that name the folder in their command line.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no processes at all", err)
	}
	var found []string
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), dir) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// Ctrl-C while the demo waits for the last messages is no loss of any.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	stop(signalled{syscall.SIGINT})
	var out strings.Builder
	err := (&app{terminal: terminal{out: &out}}).checkDemo(ctx, &demoApplication{inserted: 1}, &progress{out: &out})
	if codeOf(err) != 130 || strings.Contains(out.String(), "missing") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
