package failover

import (
	"slices"
	"testing"
	"time"

	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// soak is how long a fault goes on.
var soak = programtest.ShortOrLong(3*time.Second, time.Minute)

// The server ends sessions of the instances at random, twice a second: those of heartbeats and ticks as well as those of
// workers. Nothing is lost, nothing is repeated, nobody loses a worker.
func TestTerminatedBackends(t *testing.T) {
	t.Parallel()
	s := newStage(t, longLease, false)
	for range 2 {
		s.start("--workers", "4")
	}
	s.awaitShared(4, 2)
	before, ended := s.epochs(), 0
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for began := time.Now(); time.Since(began) < soak; <-ticker.C {
		const sql = `select count(pg_terminate_backend(pid)) from (
		  select pid from pg_stat_activity where application_name = 'modulo' order by random() limit 1) as s`
		var n int
		if err := s.db.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		ended += n
	}
	if ended == 0 {
		t.Error("no session was ended: nothing is tested")
	}
	t.Logf("%d sessions ended", ended)
	s.arrive(150)
	s.finish(0)
	if after := s.epochs(); !slices.Equal(before, after) {
		t.Errorf("workers changed their owners: epochs %v, then %v", before, after)
	}
}

func (s *stage) epochs() (epochs []int64) {
	s.t.Helper()
	if err := s.db.QueryRow(s.t.Context(), "select array_agg(epoch order by number) from modulo.workers").Scan(&epochs); err != nil {
		s.t.Fatal(err)
	}
	return epochs
}

// The server is restarted and crashes under several instances. With leases that outlast it nothing is repeated.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	s := newStage(t, longLease, false)
	for range 3 {
		s.start("--workers", "6")
	}
	s.awaitShared(6, 3)
	ways := map[string]func() error{
		"fast shutdown": s.primary.Stop,
		"crash":         func() error { s.primary.Kill(); return nil },
	}
	for way, end := range ways {
		s.arrive(150)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := s.primary.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		s.db = testservers.Connect(t, s.primary.URL("postgres"))
		s.await("rows are done after "+way, "select exists (select from modulo.outbox where done_at > $1)", started)
		t.Logf("first row done %s after the start that followed a %s", time.Since(started).Round(time.Millisecond), way)
	}
	s.arrive(150)
	s.finish(0)
}

// The pooler is restarted: a new connection is all it takes.
func TestPgBouncerRestarts(t *testing.T) {
	t.Parallel()
	s := newStage(t, longLease, false)
	pooler := testservers.OwnPgBouncer(t, s.primary)
	s.url = pooler.URL("postgres")
	s.start("--workers", "4")
	s.awaitShared(4, 1)
	for range 2 {
		s.arrive(150)
		pooler.Kill()
		if err := pooler.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.arrive(150)
	s.finish(0)
}
