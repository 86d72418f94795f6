package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// beModulo makes the test binary a modulo: with this environment variable it runs main on its arguments.
const beModulo = "TEST_BINARY_IS_MODULO"

var update = flag.Bool("update", false, "write the goldens anew")

func TestMain(m *testing.M) {
	if os.Getenv(beModulo) != "" {
		main()
	}
	code := testservers.Main(m)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// patience is how long a test waits for what has to come. Servers that start on a busy machine take most of it.
const patience = 2 * time.Minute

// shell runs modulo as main does, with an environment of its own.
type shell struct {
	t       testing.TB
	env     map[string]string
	secrets []string // must not show up in any output
}

// answer is what a command left behind.
type answer struct {
	code           int
	stdout, stderr string
}

// run runs a command to its end.
func (s *shell) run(args ...string) answer {
	s.t.Helper()
	var out, err local.Output
	code := run(s.t.Context(), args, s.terminal(&out, &err))
	a := answer{code, out.String(), err.String()}
	s.checkSecrets(a)
	return a
}

func (s *shell) terminal(out, err *local.Output) terminal {
	return terminal{strings.NewReader(""), out, err, s.lookup}
}

func (s *shell) lookup(name string) (string, bool) {
	value, ok := s.env[name]
	return value, ok
}

func (s *shell) checkSecrets(a answer) {
	s.t.Helper()
	for _, secret := range s.secrets {
		if strings.Contains(a.stdout, secret) || strings.Contains(a.stderr, secret) {
			s.t.Errorf("the secret %q shows up in:\n%s%s", secret, a.stdout, a.stderr)
		}
	}
}

// ok runs a command that must succeed and returns its data.
func (s *shell) ok(args ...string) string {
	s.t.Helper()
	return s.exits(0, args...).stdout
}

// exits runs a command that must end with this code.
func (s *shell) exits(code int, args ...string) answer {
	s.t.Helper()
	a := s.run(args...)
	if a.code != code {
		s.t.Fatalf("modulo %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), a.code, code, a.stdout, a.stderr)
	}
	return a
}

// refuses runs a command that must end with this code and say each of the words.
func (s *shell) refuses(code int, words []string, args ...string) {
	s.t.Helper()
	a := s.exits(code, args...)
	for _, word := range words {
		if !strings.Contains(a.stderr, word) {
			s.t.Errorf("modulo %s: no %q in:\n%s", strings.Join(args, " "), word, a.stderr)
		}
	}
}

// background is a command that goes on until it is told to stop.
type background struct {
	t        testing.TB
	stop     context.CancelCauseFunc
	ended    chan struct{}
	code     int // once it has ended
	out, err local.Output
}

// start starts a command; it is stopped after the test at the latest.
func (s *shell) start(args ...string) *background {
	s.t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	b := &background{t: s.t, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		b.code = run(ctx, args, s.terminal(&b.out, &b.err))
	}()
	s.t.Cleanup(func() {
		b.end()
		s.checkSecrets(answer{stdout: b.out.String(), stderr: b.err.String()})
	})
	return b
}

// end asks the command to stop, as SIGTERM does, and returns its exit code.
func (b *background) end() int {
	b.t.Helper()
	b.stop(signalled{syscall.SIGTERM})
	select {
	case <-b.ended:
		return b.code
	case <-time.After(patience):
		b.t.Fatalf("did not stop:\n%s", b.err.String())
		return -1
	}
}

// awaitLog waits until the command has told this to stderr.
func (b *background) awaitLog(text string) {
	b.t.Helper()
	await(b.t, "log line "+text, func() bool { return strings.Contains(b.err.String(), text) })
}

// process starts modulo as a process of its own, which gets signals, with all of its output in one place.
func (s *shell) process(args ...string) (*exec.Cmd, *local.Output) {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd, told := exec.Command(self, args...), &local.Output{}
	cmd.Stdout, cmd.Stderr = told, told
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), beModulo + "=1"}
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
			s.t.Errorf("%v was still running: %v", args, errors.Join(err, cmd.Wait()))
		}
	})
	return cmd, told
}

// exitCode waits for the end of a process.
func exitCode(t testing.TB, cmd *exec.Cmd, told *local.Output) int {
	t.Helper()
	late := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var exited *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	t.Fatalf("%s:\n%s", cmd.ProcessState, told.String())
	return -1
}

// await waits until something holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// write puts a file into a folder of the test's own and returns its path.
func write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// golden compares with a file below testdata; with -update it writes that file.
func golden(t testing.TB, name, got string) {
	t.Helper()
	file := filepath.Join("..", "..", "testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s\nwant:\n%s", file, got, want)
	}
}

var (
	timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	duration  = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s)\b`)
	seconds   = regexp.MustCompile(`("(?:seconds|oldest_pending_age_seconds|took_ms)": )\d[\d.e-]*`)
	columns   = regexp.MustCompile(` {2,}`)
)

// masked replaces what differs from run to run.
func masked(text string) string {
	text = timestamp.ReplaceAllString(text, "TIME")
	text = duration.ReplaceAllString(text, "DURATION")
	text = seconds.ReplaceAllString(text, "${1}SECONDS")
	return text
}

// maskedTable is masked for a table, whose columns are as wide as what was masked.
func maskedTable(text string) string { return columns.ReplaceAllString(masked(text), "  ") }
