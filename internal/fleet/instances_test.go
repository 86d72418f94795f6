package fleet

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"modulo/internal/programtest"
)

// K changes live under load, with three instances: nothing is lost and nothing is repeated.
func TestChangeOfK(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease)
	for range 3 {
		f.run(f.url, "--workers", "4")
	}
	f.awaitShared(4, 3)
	for _, k := range []int{16, 5, 1, 64, 8} {
		began := time.Now()
		f.command("workers", "set", "outbox", fmt.Sprint(k), "--wait")
		t.Logf("%d workers in force after %s", k, time.Since(began).Round(time.Millisecond))
		f.awaitShared(k, min(k, 3))
		f.awaitRows(150)
	}
	f.finish(0)
}

// A rolling restart with another --workers: the new value is in force in the end, and a clean stop repeats nothing.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease)
	var running []*programtest.Process
	for range 3 {
		running = append(running, f.run(f.url, "--workers", "4"))
	}
	f.awaitShared(4, 3)
	for i, old := range running {
		running[i] = f.run(f.url, "--workers", "6")
		f.await("the new instance has workers", `select exists (select from modulo.workers join modulo.instances on instance = owner where pid = $1)`, running[i].PID())
		if err := old.Stop(patience); err != nil {
			t.Error(err)
		}
	}
	f.awaitShared(6, 3)
	f.awaitRows(150)
	f.finish(0)
}

// slack is what a busy machine may add to a time.
const slack = 3 * time.Second

// Killed instances are taken over when their leases are over; only what they had in flight comes twice.
func TestKilledInstanceIsTakenOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	victim := f.run(f.url, "--workers", "6")
	f.awaitShared(6, 1)
	f.run(f.url, "--workers", "6")
	f.awaitShared(6, 2)
	f.awaitRows(150)
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	f.awaitShared(6, 1)
	took := time.Since(killed)
	t.Logf("taken over after %s", took.Round(time.Millisecond))
	if limit := shortLease + 2*tick + slack; took > limit {
		t.Errorf("take-over took %s, more than %s", took, limit)
	}
	f.awaitRows(150)
	f.finish(3 * 2 * 100) // workers of the victim, batches in flight, rows of a batch
}

// A change of K waits for the lease of a dead owner, then goes on.
func TestChangeOfKWithADeadOwner(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	victim := f.run(f.url, "--workers", "4")
	f.awaitShared(4, 1)
	f.run(f.url, "--workers", "4")
	f.awaitShared(4, 2)
	send(t, victim, syscall.SIGSTOP)
	f.command("workers", "set", "outbox", "7", "--wait")
	f.awaitShared(7, 1)
	f.awaitRows(150)
	send(t, victim, syscall.SIGCONT)
	f.awaitShared(7, 2)
	f.awaitRows(150)
	f.finish(2 * 2 * 100)
}

// An instance that is paused beyond its lease sends nothing when it wakes up: its workers have other owners.
func TestPausedInstanceDoesNotSend(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	victim := f.run(f.url, "--workers", "6")
	f.awaitShared(6, 1)
	f.run(f.url, "--workers", "6")
	f.awaitShared(6, 2)
	for range 2 {
		f.awaitRows(150)
		send(t, victim, syscall.SIGSTOP)
		f.awaitShared(6, 1)
		f.awaitRows(150)
		send(t, victim, syscall.SIGCONT)
		f.awaitShared(6, 2)
	}
	f.finish(2 * 3 * 2 * 100)
}

// An instance that is cut off from the database, but not from the broker, has stopped sending before others start.
func TestInstanceCutOffFromTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	line := proxied(t, f.url)
	victim := f.run(line.url, "--workers", "6")
	f.awaitShared(6, 1)
	f.run(f.url, "--workers", "6")
	f.awaitShared(6, 2)
	f.awaitRows(150)
	if err := line.breakSilently(); err != nil {
		t.Fatal(err)
	}
	f.await("taken over", `select not exists (select from modulo.workers join modulo.instances on instance = owner where pid = $1)`, victim.PID())
	f.awaitShared(6, 1)
	f.awaitRows(150)
	if err := line.mend(); err != nil {
		t.Fatal(err)
	}
	f.awaitShared(6, 2)
	f.awaitRows(150)
	f.finish(3 * 2 * 100)
}

func send(t *testing.T, to *programtest.Process, signal syscall.Signal) {
	t.Helper()
	if err := to.Signal(signal); err != nil {
		t.Fatal(err)
	}
}
