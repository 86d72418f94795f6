package failover

import (
	"testing"

	"modulo/internal/testservers"
)

// Behind PgBouncer in transaction mode, and with nothing in the URL that says so: K changes without a repeat, and a
// killed instance is taken over.
func TestBehindPgBouncer(t *testing.T) {
	t.Parallel()
	s := newStage(t, shortLease, false)
	s.url = testservers.OwnPgBouncer(t, s.primary).URL("postgres")
	victim := s.start("--workers", "4")
	s.awaitShared(4, 1)
	s.start("--workers", "4")
	s.awaitShared(4, 2)
	s.command("workers", "set", "outbox", "7", "--wait")
	s.awaitShared(7, 2)
	s.arrive(150)
	if n := s.stream.repeated(); n != 0 {
		t.Errorf("%d repeats although nobody was killed", n)
	}
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	s.awaitShared(7, 1)
	s.arrive(150)
	s.finish(4 * 2 * batch) // workers of the victim, batches in flight
}
