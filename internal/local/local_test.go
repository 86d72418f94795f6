package local_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"modulo/internal/local"
)

// asParent makes the test binary a program that starts servers and waits to be killed; see parent_test.go.
const asParent = "MODULO_TEST_AS_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		os.Exit(parent())
	}
	os.Exit(m.Run())
}

// serverDir is a directory that the user postgres can enter, other than that of t.TempDir.
func serverDir(t *testing.T) string {
	t.Helper()
	dir, err := local.TempDir("modulo-local-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// server is what both servers have in common.
type server interface {
	Start(context.Context) error
	Stop() error
	Kill()
	Pause() error
	Resume() error
	PID() int
}

// must fails the test unless err is nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that becomes true without our doing.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// checkStates runs a server through stop, start, kill and their repetitions; check shows that it serves and has kept
// everything.
func checkStates(t *testing.T, s server, check func()) {
	t.Helper()
	check()
	if s.PID() == 0 {
		t.Error("no PID although it runs")
	}
	must(t, s.Stop())
	must(t, s.Stop())
	if pid := s.PID(); pid != 0 {
		t.Errorf("PID %d although it is stopped", pid)
	}
	if s.Pause() == nil {
		t.Error("a stopped server was paused")
	}
	must(t, s.Start(t.Context()))
	check()
	if s.Start(t.Context()) == nil {
		t.Error("a running server was started")
	}
	s.Kill()
	s.Kill()
	must(t, s.Start(t.Context()))
	check()
}

// checkPause shows that a paused server does not answer and a resumed one does. A paused one can be killed and stopped.
func checkPause(t *testing.T, s server, answers func(context.Context) error) {
	t.Helper()
	must(t, s.Pause())
	if s.Pause() == nil {
		t.Error("a paused server was paused")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := answers(ctx); err == nil {
		t.Error("a paused server answered")
	}
	must(t, s.Resume())
	must(t, s.Resume())
	must(t, answers(t.Context()))

	must(t, s.Pause())
	s.Kill()
	must(t, s.Start(t.Context()))
	must(t, s.Pause())
	must(t, s.Stop())
	must(t, s.Start(t.Context()))
	must(t, answers(t.Context()))
}

// checkCrash shows that Stop tells when the server had ended by itself.
func checkCrash(t *testing.T, s server) {
	t.Helper()
	family := append(descendants(s.PID()), s.PID())
	crashed, err := os.FindProcess(s.PID())
	must(t, err)
	must(t, crashed.Kill())
	for _, pid := range family { // the children of a crashed server end by themselves
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !running(pid) })
	}
	if s.Stop() == nil {
		t.Error("Stop did not tell of the crash")
	}
	must(t, s.Start(t.Context()))
	must(t, s.Stop())
}
