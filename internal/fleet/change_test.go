package fleet

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"modulo/internal/programtest"
)

// pauseLimit is how long a change of K may keep everybody from sending: two ticks, and what a batch takes.
const pauseLimit = 2*tick + 200*time.Millisecond

// K changes live on a clock, under load, with three instances: nothing is lost, nothing is repeated, and the pause is
// short.
func TestChangeOfK(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease, tick)
	for range 3 {
		f.run(f.url, "--workers", "4")
	}
	f.awaitShared(4, 3)
	f.awaitRows(*rate / 2)
	clock := time.NewTicker(*change)
	defer clock.Stop()
	asked := map[int]time.Time{}
	for _, k := range []int{16, 5, 1, 64, 8} {
		<-clock.C
		asked[k] = time.Now()
		f.command("workers", "set", "outbox", fmt.Sprint(k), "--wait")
		f.awaitShared(k, min(k, 3))
		f.awaitRows(150)
	}
	<-clock.C
	f.finish(0)
	f.printPauses(t, asked)
}

// printPauses prints, and checks, how long each change took as the stream shows it.
func (f *fleet) printPauses(t *testing.T, asked map[int]time.Time) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "%.0f rows/s (of %d), every %s\n%-12s%12s%22s%22s\n", f.load.perSecond(), *rate, *change,
		"change", "silence", "longest of a worker", "asked to first frame")
	f.stream.mu.Lock()
	defer f.stream.mu.Unlock()
	for i, next := range f.stream.reigns[1:] {
		before := f.stream.reigns[i]
		silence := next.first.Sub(before.last)
		fmt.Fprintf(&text, "%-12s%12s%22s%22s\n", fmt.Sprintf("%d -> %d", before.of, next.of), silence.Round(time.Millisecond),
			next.latest().Sub(before.earliest()).Round(time.Millisecond), next.first.Sub(asked[next.of]).Round(time.Millisecond))
		if silence > pauseLimit+*busy {
			t.Errorf("%d -> %d: nobody sent for %s, more than %s", before.of, next.of, silence, pauseLimit)
		}
	}
	t.Log(text.String())
}

// earliest is when the first worker of a K sent its last frame; latest is when the last one sent its first.
func (r *reign) earliest() time.Time {
	first := r.last
	for _, ended := range r.ended {
		if ended.Before(first) {
			first = ended
		}
	}
	return first
}

func (r *reign) latest() time.Time {
	last := r.first
	for _, begun := range r.begun {
		if begun.After(last) {
			last = begun
		}
	}
	return last
}

// A change of K waits for the lease of an owner that died or hangs, then goes on.
func TestChangeOfKWithADeadOwner(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "paused": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lease := programtest.ShortOrLong(3*shortLease, shortLease) // on a busy machine the others are not seen waiting for a shorter one
			f := newFleet(t, lease, tick)
			victim := f.run(f.url, "--workers", "4")
			f.awaitShared(4, 1)
			f.run(f.url, "--workers", "4")
			f.awaitShared(4, 2)
			f.awaitRows(150)
			struck := time.Now()
			send(t, victim, signal)
			f.command("workers", "set", "outbox", "7")
			f.await("only the victim still owns workers", `
				select next_workers = 7 and (select bool_and(pid = $1) from modulo.workers join modulo.instances on instance = owner)
				from modulo.jobs`, victim.PID())
			f.awaitShared(7, 1)
			took := time.Since(struck)
			t.Logf("changed %s after the owner was %s", took.Round(time.Millisecond), name)
			if limit := lease + 2*tick + *busy; took > limit {
				t.Errorf("the change took %s, more than %s", took, limit)
			}
			f.awaitRows(150)
			if signal == syscall.SIGSTOP {
				send(t, victim, syscall.SIGCONT)
				f.awaitShared(7, 2)
				f.awaitRows(150)
			}
			f.finish(explained(2 * openBatches)) // workers of the victim
		})
	}
}

// Two changes at once: one wins, the other is told so.
func TestTwoChangesOfKAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease, tick)
	slow := f.run(f.url, "--workers", "4")
	f.awaitShared(4, 1)
	send(t, slow, syscall.SIGSTOP) // for less than its lease: the first change has to wait
	f.command("workers", "set", "outbox", "6")
	out, code, err := programtest.Run(t.Context(), "workers", "set", "outbox", "9", "--config", f.config, "--database-url", f.url)
	if err != nil || code != refused {
		t.Errorf("the second change: exit code %d, want %d (%v)\n%s", code, refused, err, out)
	}
	send(t, slow, syscall.SIGCONT)
	f.awaitShared(6, 1)
	f.awaitRows(150)
	f.finish(0)
}

// refused is the exit code of a command that lost against another.
const refused = 6

// A rolling restart with another --workers: the new value is in force in the end, and a clean stop repeats nothing.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease, tick)
	var running []*programtest.Process
	for range 3 {
		running = append(running, f.run(f.url, "--workers", "4"))
	}
	f.awaitShared(4, 3)
	clock := time.NewTicker(*change)
	defer clock.Stop()
	for i, old := range running {
		<-clock.C
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
