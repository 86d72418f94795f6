package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckEntryNamesTheClosedDirectory(t *testing.T) {
	t.Parallel()
	open, err := TempDir("modulo-local-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	closed := filepath.Join(open, "closed")
	inside := filepath.Join(closed, "inside")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	const somebody = 12345
	if err := checkEntry(inside, somebody); err != nil {
		t.Errorf("open to all: %v", err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkEntry(inside, somebody); err == nil || !strings.Contains(err.Error(), closed) {
		t.Errorf("closed: %v", err)
	}
	if err := checkEntry(inside, uint32(os.Geteuid())); err != nil {
		t.Errorf("closed to others only: %v", err)
	}
}

func TestLogTailLeavesOutStackFrames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	text := strings.Repeat("old\n", 100) + "Caused by: no space\n\tat org.example.Disk.write(Disk.java:1)\n\t... 25 more\nend\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tail := logTail(file)
	if !strings.HasSuffix(tail, "old\n  Caused by: no space\n  end") || strings.Count(tail, "old") != logLines-2 {
		t.Errorf("tail %q", tail)
	}
	if tail := logTail(file + ".missing"); tail != "" {
		t.Errorf("tail of a missing file %q", tail)
	}
}
