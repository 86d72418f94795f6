package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"modulo/internal/programtest"
)

// exitUnreachable is how the program ends when it cannot reach the database at its start.
const exitUnreachable = 5

// service is the place of an instance that is started anew after each end, as a supervisor would.
type service struct {
	args    []string
	limit   time.Duration // of a clean stop
	current *programtest.Process
}

// startService starts the program as a service; it is killed after the test if it still runs.
func startService(t testing.TB, args ...string) *service {
	t.Helper()
	s := &service{args: append([]string{"run", fmt.Sprintf("--shutdown-timeout=%s", stopLimit)}, args...), limit: stopLimit}
	t.Cleanup(func() {
		if s.current == nil {
			return
		}
		_ = s.current.Kill() // it may have ended
		if t.Failed() {
			t.Logf("end of the service's log:\n%s", s.current.Log.Tail())
		}
	})
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// stopLimit is the --shutdown-timeout of the services, which say by their exit code whether they kept it.
const stopLimit = 20 * time.Second

// exitSlack is what a process may take to be gone; in `make test` on a machine that stops for some seconds now and then.
var exitSlack = programtest.ShortOrLong(10*time.Second, time.Second)

// withShortLease are the flags of a service that may be killed: its next start has to wait for the end of the lease.
func withShortLease(t testing.TB) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "modulo.yaml")
	if err := os.WriteFile(path, []byte("ownership: {lease: 4s, heartbeat: 1s, margin: 1s, tick: 200ms}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", path}
}

// start returns when the service runs. While the database is away at its start, it ends and is started again.
func (s *service) start(ctx context.Context) error {
	for ctx.Err() == nil {
		p, err := programtest.Start(s.args...)
		if err != nil {
			return err
		}
		s.current = p
		err = programtest.Await(ctx, 10*time.Millisecond, func() (bool, error) { return p.Log.Has(`"service starts"`) || !p.Running(), nil })
		if err != nil || p.Running() {
			return err
		}
		if p.ExitCode() != exitUnreachable {
			return fmt.Errorf("the service ended at its start: %s\n%s", p.State(), p.Log.Tail())
		}
	}
	return context.Cause(ctx)
}

func (s *service) kill() error { return s.current.Kill() }

// stop is a clean stop by SIGTERM.
func (s *service) stop() error { return s.current.Stop(s.limit + exitSlack) }

// checkAlive is an error if the service has ended by itself.
func (s *service) checkAlive() error {
	if !s.current.Running() {
		return errors.New("the service ended by itself: " + s.current.State() + "\n" + s.current.Log.Tail())
	}
	return nil
}
