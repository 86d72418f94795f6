package failover

import (
	"testing"
	"time"

	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// promote makes the standby the primary and measures from there.
func (s *stage) promote() (promoted time.Time) {
	s.t.Helper()
	if err := s.standby.Promote(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	promoted = time.Now()
	s.db = testservers.Connect(s.t, s.standby.URL("postgres"))
	return promoted
}

// recovered says how long it took until something arrives again, and holds it against a limit.
func (s *stage) recovered(promoted time.Time, limit time.Duration) {
	s.t.Helper()
	s.await("something is marked done on the new primary", "select exists (select from modulo.outbox where done_at > $1)", promoted)
	first := time.Since(promoted)
	s.await("every worker has an owner on the new primary", `
		select count(*) = (select workers from modulo.jobs)
		from modulo.workers join modulo.instances on instance = owner
		where expires_at > clock_timestamp() and beat > 0 and not exists (select from modulo.jobs where hold_until > clock_timestamp())`)
	all := time.Since(promoted)
	s.t.Logf("after the promotion: first row done after %s, every worker and no hold after %s",
		first.Round(time.Millisecond), all.Round(time.Millisecond))
	if all > limit {
		s.t.Errorf("recovery took %s, more than %s", all, limit)
	}
}

// ticks is what a fail-over may take beside the lease: some ticks, and what a machine adds that has a lot to do, or only this.
var ticks = 5*tick + programtest.ShortOrLong(15*time.Second, 3*time.Second)

// The primary dies, and its standby has missed the last second: rows, marks, leases and epochs. Nothing is lost of what
// the new primary has, not even where it gives ids again, and no worker has two owners. The old one comes back read-only,
// and nobody goes there.
func TestFailOverToALaggingStandby(t *testing.T) {
	t.Parallel()
	s := newStage(t, shortLease, true)
	s.start("--workers", "4")
	s.awaitShared(4, 1)
	if err := s.standby.Stop(); err != nil {
		t.Fatal(err)
	}
	s.start("--workers", "4") // which the standby never hears of
	s.awaitShared(4, 2)
	s.arrive(rate)
	before := s.stream.arrived()
	s.primary.Kill()
	if err := s.standby.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	promoted := s.promote()
	s.recovered(promoted, shortLease+ticks)
	if err := s.primary.Demote(); err != nil {
		t.Fatal(err)
	}
	if err := s.primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitShared(4, 2)
	s.arrive(rate)
	s.finish(before + 4*2*batch) // every mark may be lost, and what was in flight
}

// With a synchronous standby no commit is lost: what was in flight may come again, and nothing else.
func TestFailOverToASynchronousStandby(t *testing.T) {
	t.Parallel()
	s := newStage(t, shortLease, true)
	s.execute("alter system set synchronous_standby_names = 'standby'")
	s.execute("select pg_reload_conf()")
	s.await("commits wait for the standby", "select exists (select from pg_stat_replication where sync_state = 'sync')")
	for range 2 {
		s.start("--workers", "4")
	}
	s.awaitShared(4, 2)
	s.arrive(rate)
	s.primary.Kill()
	s.recovered(s.promote(), shortLease+ticks)
	s.arrive(rate)
	s.finish(4 * 2 * batch)
}
