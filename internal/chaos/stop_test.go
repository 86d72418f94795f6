package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"modulo/internal/faultproxy"
	"modulo/internal/programtest"
)

// TestCleanStops stops the service by SIGTERM under load, again and again: nothing is repeated, nothing is left.
func TestCleanStops(t *testing.T) {
	t.Parallel()
	stage := sharedStage(t)
	database, broker := stage.proxies(t)
	s := scenario{rounds: programtest.ShortOrLong(1, 10), rows: 5_000, workers: 5, batch: 50, pace: saturating, limit: programtest.Patience}
	service := stage.start(t, s.args()...)
	s.faults = []*fault{{
		name: "SIGTERM", times: 5, down: 100 * time.Millisecond,
		strike: func(ctx context.Context, _ *rand.Rand) error {
			return errors.Join(service.stop(), stage.checkNothingLeft(ctx, database, broker))
		},
		mend: service.start,
	}}
	s.play(t, stage, service)
}

// checkNothingLeft is an error if a stopped service still has a session or a connection.
func (s *stage) checkNothingLeft(ctx context.Context, database, broker *faultproxy.Proxy) error {
	ctx, cancel := context.WithTimeout(ctx, programtest.Patience) // a server notices an end a little later, a pooler keeps it for 2 s
	defer cancel()
	var sessions int
	err := programtest.Await(ctx, 10*time.Millisecond, func() (bool, error) {
		err := s.query(ctx, countSessions, nil, &sessions)
		return sessions+database.Links()+broker.Links() == 0, err
	})
	if err != nil {
		return fmt.Errorf("left by the service: %d sessions, %d connections to the database, %d to the broker: %w",
			sessions, database.Links(), broker.Links(), err)
	}
	return nil
}

// TestStopInOutage stops the service while a server is away: it ends in time, and the next start delivers the rest.
func TestStopInOutage(t *testing.T) {
	t.Parallel()
	stage := sharedStage(t)
	database, broker := stage.proxies(t)
	s := scenario{workers: 5, batch: 50}
	args := append(s.args(), withShortLease(t)...) // who cannot reach the database leaves its workers until the lease is over
	service := stage.start(t, append(args, "--shutdown-timeout=12s")...)
	service.limit = 12 * time.Second
	l := &load{stage: stage, total: 1_000_000, pace: pace{every: 50 * time.Millisecond, rows: 100, backlog: 2000}}
	finish := l.begin(t)
	rng := programtest.Rand(t)

	down := faultproxy.Faults{Refuse: true}
	silent := faultproxy.Silent()
	repeats := 0
	for _, outage := range []struct {
		name    string
		of      *faultproxy.Proxy
		faults  faultproxy.Faults
		repeats int // batches per worker
	}{
		{"broker down", broker, down, 1},
		{"broker silent", broker, silent, 1},
		{"database down", database, down, 2},
		{"database silent", database, silent, 2},
	} {
		repeats += outage.repeats * s.workers * s.batch
		before := l.done()
		programtest.Within(t, programtest.Patience, "rows get done", func() (bool, error) { return l.done() > before+500, nil })
		outage.of.Set(outage.faults)
		if outage.faults.Refuse {
			outage.of.CutAll(faultproxy.RST)
		}
		if err := programtest.Pause(t.Context(), programtest.UpTo(rng, time.Second)); err != nil { // into a batch, or between attempts
			t.Fatal(err)
		}
		began := time.Now()
		if err := service.stop(); err != nil {
			t.Fatalf("%s: %v", outage.name, err)
		}
		t.Logf("%s: stopped after %s", outage.name, time.Since(began).Round(time.Millisecond))
		outage.of.CutAll(faultproxy.RST)
		outage.of.Set(faultproxy.Faults{})
		if err := errors.Join(stage.checkNothingLeft(t.Context(), database, broker), service.start(t.Context())); err != nil {
			t.Fatalf("%s: %v", outage.name, err)
		}
	}
	finish()
	if err := service.stop(); err != nil {
		t.Error(err)
	}
	v := stage.judge(t, s.workers, programtest.Explained(repeats))
	t.Logf("%d rows, %d received, %d repeats, bound %d", v.rows, v.received, v.repeats, v.bound)
	v.check(t)
}

// TestSecondSignal: whoever asks twice does not want to wait for receipts.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			stage := sharedStage(t)
			_, broker := stage.proxies(t)
			service := stage.start(t, "--shutdown-timeout=60s")
			l := &load{stage: stage, total: 3000, pace: saturating}
			l.begin(t)
			programtest.Within(t, programtest.Patience, "rows are done", func() (bool, error) { return l.done() > 1000, nil })
			broker.Set(faultproxy.Faults{Down: faultproxy.Flow{Stall: true}}) // no receipts

			if err := service.current.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			programtest.Within(t, programtest.Patience, "stop begins", func() (bool, error) { return service.current.Log.Has(`"stopping`), nil })
			if err := programtest.Pause(t.Context(), 500*time.Millisecond); err != nil || !service.current.Running() {
				t.Fatalf("the service did not wait for its receipts (%v)", err)
			}
			code, err := service.current.End(signal, exitSlack)
			if err != nil || code != 128+int(signal) {
				t.Errorf("exit code %d, want %d (%v)", code, 128+int(signal), err)
			}
		})
	}
}
