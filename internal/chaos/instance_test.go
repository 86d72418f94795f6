package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// exitUnreachable is how the program ends when it cannot reach the database at its start.
const exitUnreachable = 5

// instance is one run of the program. Should the tests end without stopping it, it dies of its next log line, which
// goes through a pipe of ours.
type instance struct {
	cmd    *exec.Cmd
	log    *journal
	exited chan struct{} // closed when the process has ended and cmd.ProcessState is known
}

func startInstance(args ...string) (*instance, error) {
	i := &instance{cmd: exec.Command(program, args...), log: &journal{}, exited: make(chan struct{})}
	i.cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no settings of the developer's
	i.cmd.Stderr = i.log
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of the terminal's Ctrl-C
	if err := i.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process; whoever stops that waits for exited
		defer close(i.exited)
		_ = i.cmd.Wait() // how it ended is in ProcessState
	}()
	return i, nil
}

func (i *instance) running() bool {
	select {
	case <-i.exited:
		return false
	default:
		return true
	}
}

// kill is kill -9. It is an error if the process has ended by itself before.
func (i *instance) kill() error {
	_ = i.cmd.Process.Kill() // a process that has ended is found out below
	<-i.exited
	if status := i.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("the service ended by itself: %s\n%s", i.cmd.ProcessState, i.log.tail())
	}
	return nil
}

// end sends a signal and returns the exit code. It is an error if the process lives on for longer than limit.
func (i *instance) end(signal syscall.Signal, limit time.Duration) (code int, err error) {
	if err := i.cmd.Process.Signal(signal); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", signal, err, i.log.tail())
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-i.exited:
		return i.cmd.ProcessState.ExitCode(), nil
	case <-timer.C:
		return 0, fmt.Errorf("%s: still running after %s\n%s", signal, limit, i.log.tail())
	}
}

// service is the place of an instance that is started anew after each end, as a supervisor would.
type service struct {
	args    []string
	limit   time.Duration // of a clean stop
	current *instance
}

// startService starts the program as a service; it is killed after the test if it still runs.
func startService(t testing.TB, args ...string) *service {
	t.Helper()
	s := &service{args: append([]string{"run", fmt.Sprintf("--shutdown-timeout=%s", stopLimit)}, args...), limit: stopLimit}
	t.Cleanup(func() {
		if s.current == nil {
			return
		}
		_ = s.current.kill() // it may have ended
		if t.Failed() {
			t.Logf("end of the service's log:\n%s", s.current.log.tail())
		}
	})
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// stopLimit is the --shutdown-timeout of the services; exitSlack is what a process may take to be gone after it.
const (
	stopLimit = 10 * time.Second
	exitSlack = time.Second
)

// withShortLease are the flags of a service that may be killed: its next start has to wait for the end of the lease.
func withShortLease(t testing.TB) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "modulo.yaml")
	if err := os.WriteFile(path, []byte("ownership: {lease: 4s, heartbeat: 500ms, margin: 1s, tick: 200ms}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", path}
}

// start returns when the service runs. While the database is away at its start, it ends and is started again.
func (s *service) start(ctx context.Context) error {
	for ctx.Err() == nil {
		i, err := startInstance(s.args...)
		if err != nil {
			return err
		}
		s.current = i
		err = await(ctx, 10*time.Millisecond, func() (bool, error) { return i.log.has(`"service starts"`) || !i.running(), nil })
		if err != nil || i.running() {
			return err
		}
		if code := i.cmd.ProcessState.ExitCode(); code != exitUnreachable {
			return fmt.Errorf("the service ended at its start: %s\n%s", i.cmd.ProcessState, i.log.tail())
		}
	}
	return context.Cause(ctx)
}

func (s *service) kill() error { return s.current.kill() }

// stop is a clean stop by SIGTERM.
func (s *service) stop() error {
	code, err := s.current.end(syscall.SIGTERM, s.limit+exitSlack)
	if err == nil && code != 0 {
		err = fmt.Errorf("clean stop: %s\n%s", s.current.cmd.ProcessState, s.current.log.tail())
	}
	return err
}

// checkAlive is an error if the service has ended by itself.
func (s *service) checkAlive() error {
	if !s.current.running() {
		return errors.New("the service ended by itself: " + s.current.cmd.ProcessState.String() + "\n" + s.current.log.tail())
	}
	return nil
}

// journal keeps what a process writes.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Contains(j.text.Bytes(), []byte(text))
}

// tail is the last lines.
func (j *journal) tail() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(j.text.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
