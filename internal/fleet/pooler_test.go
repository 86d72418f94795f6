package fleet

import (
	"testing"

	"modulo/internal/testservers"
)

// Behind PgBouncer in transaction mode, and with nothing in the URL that says so: K changes without a repeat, and a
// killed instance is taken over.
func TestBehindPgBouncer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	pooled := testservers.Pooled(t, f.url)
	victim := f.start(pooled, "--workers", "4")
	f.awaitShared(4, 1)
	f.start(pooled, "--workers", "4")
	f.awaitShared(4, 2)
	f.url = pooled
	f.command("workers", "set", "outbox", "7", "--wait")
	f.awaitShared(7, 2)
	f.arrive(150)
	if messages, events := f.stream.arrived(); messages != events {
		t.Errorf("%d repeats although nobody was killed", messages-events)
	}
	victim.kill()
	f.awaitShared(7, 1)
	f.arrive(150)
	f.finish(4 * 2 * 100)
}
