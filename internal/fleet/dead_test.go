package fleet

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"modulo/internal/programtest"
)

// Killed instances are taken over when their leases are over; only what they had in flight comes twice.
func TestKilledInstanceIsTakenOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease, tick)
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
	if limit := shortLease + 2*tick + *busy; took > limit {
		t.Errorf("take-over took %s, more than %s", took, limit)
	}
	f.awaitRows(150)
	f.finish(explained(3 * openBatches)) // workers of the victim
}

// silentBeats is for how many heart-beats the broker hears nothing of a client before it gives the connection, and with it
// the token, up.
const silentBeats = 3

// An instance that is paused beyond its lease sends nothing when it wakes up: its workers have other owners, who send as
// soon as the lease is over and the broker has given up its connections.
func TestPausedInstanceDoesNotSend(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease, tick)
	victim := f.run(f.url, "--workers", "6")
	f.awaitShared(6, 1)
	f.run(f.url, "--workers", "6")
	f.awaitShared(6, 2)
	for range 2 {
		f.awaitRows(150)
		newest := f.newestEpoch()
		send(t, victim, syscall.SIGSTOP)
		paused := time.Now()
		f.awaitShared(6, 1)
		owned := time.Since(paused)
		f.awaitSuccessors(newest, 3)
		took := time.Since(paused)
		t.Logf("workers taken over after %s, the last of them has sent after %s", owned.Round(time.Millisecond), took.Round(time.Millisecond))
		if limit := shortLease + silentBeats*brokerHeartbeat + 2*tick + *busy; took > limit {
			t.Errorf("the last successor has sent after %s, more than %s", took, limit)
		}
		send(t, victim, syscall.SIGCONT)
		f.awaitShared(6, 2)
	}
	f.finish(explained(2 * 3 * openBatches))
}

// An instance that is cut off from the database, but not from the broker, has stopped sending before others start.
func TestInstanceCutOffFromTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease, tick)
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
	f.finish(explained(3 * openBatches))
}

// An instance that is cut off from the broker, but not from the database, keeps its workers: nobody else would get through
// sooner. It tries again, with pauses.
func TestInstanceCutOffFromTheBroker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease, tick)
	line := proxied(t, f.brokerURL)
	if _, err := f.launch("", f.url, line.url, "--workers", "8"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.run(f.url, "--workers", "8")
	}
	f.awaitShared(8, 3)
	f.awaitRows(150)
	before := f.owners()
	for _, cut := range []struct {
		name  string
		begin func() error
		lasts time.Duration
	}{
		{"link down", line.pull, 3 * time.Second},
		{"silently", line.breakSilently, 6 * time.Second}, // until no receipt has come in time
	} {
		if err := cut.begin(); err != nil {
			t.Fatal(err)
		}
		if err := programtest.Pause(t.Context(), cut.lasts); err != nil {
			t.Fatal(err)
		}
		tries := line.proxy.Accepted()
		t.Logf("%s for %s: %d attempts to connect", cut.name, cut.lasts, tries)
		if limit := 3 * 10; tries > limit { // by three workers, at most; their pauses grow from 100 ms
			t.Errorf("%d attempts to connect, more than %d", tries, limit)
		}
		f.awaitRows(150) // of the others
		if err := line.mend(); err != nil {
			t.Fatal(err)
		}
		f.await("what waited is done", "select not exists (select from modulo.outbox where done_at is null and created_at < $1)", time.Now())
	}
	if after := f.owners(); before != after {
		t.Errorf("owners changed:\n%s\n%s", before, after)
	}
	f.finish(explained(2 * 3 * openBatches))
}

// owners tells who owns which worker, and in which epoch.
func (f *fleet) owners() (all string) {
	f.t.Helper()
	const sql = "select string_agg(format('%s: %s %s', number, owner, epoch), E'\\n' order by number) from modulo.workers"
	if err := f.db.QueryRow(f.t.Context(), sql).Scan(&all); err != nil {
		f.t.Fatal(err)
	}
	return all
}

// awaitSuccessors waits until so many workers have sent something under an epoch newer than this one.
func (f *fleet) awaitSuccessors(epoch int64, workers int) {
	f.t.Helper()
	programtest.Within(f.t, patience, fmt.Sprintf("messages of %d successors", workers), func() (bool, error) {
		return f.stream.newer(epoch) >= workers, nil
	})
}

func (f *fleet) newestEpoch() (epoch int64) {
	f.t.Helper()
	if err := f.db.QueryRow(f.t.Context(), "select max(epoch) from modulo.workers").Scan(&epoch); err != nil {
		f.t.Fatal(err)
	}
	return epoch
}

func send(t *testing.T, to *programtest.Process, signal syscall.Signal) {
	t.Helper()
	if err := to.Signal(signal); err != nil {
		t.Fatal(err)
	}
}
