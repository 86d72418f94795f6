package fleet

import (
	"fmt"
	"net/url"
	"syscall"
	"testing"
	"time"

	"modulo/internal/faultproxy"
)

// K changes live under load, with three instances: nothing is lost and nothing is repeated.
func TestChangeOfK(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease)
	for range 3 {
		f.start(f.url, "--workers", "4")
	}
	f.awaitShared(4, 3)
	for _, k := range []int{16, 5, 1, 64, 8} {
		began := time.Now()
		f.command("workers", "set", "outbox", fmt.Sprint(k), "--wait")
		t.Logf("%d workers in force after %s", k, time.Since(began).Round(time.Millisecond))
		f.awaitShared(k, min(k, 3))
		f.arrive(150)
	}
	f.finish(0)
}

// arrive waits until so many more messages have come.
func (f *fleet) arrive(more int) {
	f.t.Helper()
	before, _ := f.stream.arrived()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if now, _ := f.stream.arrived(); now >= before+more {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d more messages do not come", more)
		}
	}
}

// A rolling restart with another --workers: the new value is in force in the end, and a clean stop repeats nothing.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease)
	var running []*instance
	for range 3 {
		running = append(running, f.start(f.url, "--workers", "4"))
	}
	f.awaitShared(4, 3)
	for i, old := range running {
		running[i] = f.start(f.url, "--workers", "6")
		f.await("the new instance has workers", `select exists (select from modulo.workers join modulo.instances on instance = owner where pid = $1)`, running[i].pid())
		old.stop()
	}
	f.awaitShared(6, 3)
	f.arrive(150)
	f.finish(0)
}

// slack is what a busy machine may add to a time.
const slack = 3 * time.Second

// Killed instances are taken over when their leases are over; what they had in flight does not come twice.
func TestKilledInstanceIsTakenOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	victim := f.start(f.url, "--workers", "6")
	f.awaitShared(6, 1)
	f.start(f.url, "--workers", "6")
	f.awaitShared(6, 2)
	f.arrive(150)
	victim.kill()
	killed := time.Now()
	f.awaitShared(6, 1)
	took := time.Since(killed)
	t.Logf("taken over after %s", took.Round(time.Millisecond))
	if limit := shortLease + 2*tick + slack; took > limit {
		t.Errorf("take-over took %s, more than %s", took, limit)
	}
	f.arrive(150)
	f.finish(0)
}

// newestEpoch is greater than or equal to every epoch so far.
func (f *fleet) newestEpoch() (epoch int64) {
	f.t.Helper()
	if err := f.db.QueryRow(f.t.Context(), "select max(epoch) from modulo.workers").Scan(&epoch); err != nil {
		f.t.Fatal(err)
	}
	return epoch
}

// A change of K waits for the lease of a dead owner, then goes on.
func TestChangeOfKWithADeadOwner(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	victim := f.start(f.url, "--workers", "4")
	f.awaitShared(4, 1)
	f.start(f.url, "--workers", "4")
	f.awaitShared(4, 2)
	victim.signal(syscall.SIGSTOP)
	f.command("workers", "set", "outbox", "7", "--wait")
	f.awaitShared(7, 1)
	f.arrive(150)
	victim.signal(syscall.SIGCONT)
	f.awaitShared(7, 2)
	f.arrive(150)
	f.finish(0)
}

// silentBeats is how many heart-beats a broker waits for a sign of its client.
const silentBeats = 3

// An instance that is paused beyond its lease sends nothing when it wakes up: its workers have other owners, who send as
// soon as the broker has given the connections of the old one up.
func TestPausedInstanceDoesNotSend(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	victim := f.start(f.url, "--workers", "6")
	f.awaitShared(6, 1)
	f.start(f.url, "--workers", "6")
	f.awaitShared(6, 2)
	for range 2 {
		f.arrive(150)
		newest := f.newestEpoch()
		victim.signal(syscall.SIGSTOP)
		paused := time.Now()
		f.awaitShared(6, 1)
		owned := time.Since(paused)
		f.stream.awaitSuccessors(t, newest, 3)
		took := time.Since(paused)
		t.Logf("workers taken over after %s, all three have sent after %s", owned.Round(time.Millisecond), took.Round(time.Millisecond))
		if limit := shortLease + silentBeats*brokerHeartbeat + 2*tick + slack; took > limit {
			t.Errorf("the last successor sent after %s, more than %s", took, limit)
		}
		victim.signal(syscall.SIGCONT)
		f.awaitShared(6, 2)
	}
	f.finish(0)
}

// An instance that is cut off from the database, but not from the broker, has stopped sending before others start.
func TestInstanceCutOffFromTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease)
	proxy, url := proxyTo(t, f.url)
	victim := f.start(url, "--workers", "6")
	f.awaitShared(6, 1)
	f.start(f.url, "--workers", "6")
	f.awaitShared(6, 2)
	f.arrive(150)
	proxy.Set(faultproxy.Faults{Up: faultproxy.Flow{Stall: true}, Down: faultproxy.Flow{Stall: true}})
	f.await("taken over", `select not exists (select from modulo.workers join modulo.instances on instance = owner where pid = $1)`, victim.pid())
	f.awaitShared(6, 1)
	f.arrive(150)
	proxy.CutAll(faultproxy.RST)
	proxy.Set(faultproxy.Faults{})
	f.awaitShared(6, 2)
	f.arrive(150)
	f.finish(0)
}

// proxyTo puts a proxy before the database.
func proxyTo(t *testing.T, databaseURL string) (*faultproxy.Proxy, string) {
	t.Helper()
	address, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultproxy.Start(address.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	address.Host = proxy.Addr()
	return proxy, address.String()
}
