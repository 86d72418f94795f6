package store_test

import (
	"errors"
	"flag"
	"sync"
	"testing"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// races is how often what must never happen at the same moment is tried.
var races = flag.Int("races", 300, "rounds of each race of ownership")

// A heartbeat and a take-over at the moment when the lease ends: one of them wins, never both.
func TestHeartbeatAgainstTakeOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	b := f.start()
	if _, err := b.Tick(t.Context(), true); err != nil { // it only reaps
		t.Fatal(err)
	}
	var a *member
	// How long the lease still lasts when both begin: shorter after each heartbeat in time, longer after each that was
	// late, so that on any machine it ends about when they meet.
	last := time.Millisecond
	renewed := 0
	for round := range *races {
		if a == nil {
			a = f.start()
			a.step()
			if err := a.Beat(t.Context()); err != nil { // connects
				t.Fatal(err)
			}
		}
		const lastMoments = `update modulo.instances set expires_at = clock_timestamp() + make_interval(secs => $1)
			where instance = (select owner from modulo.workers)`
		f.exec(lastMoments, last.Seconds())
		var beatErr, tickErr error
		var tick jobs.Tick
		var both sync.WaitGroup
		both.Go(func() { beatErr = a.Beat(t.Context()) })
		both.Go(func() { tick, tickErr = b.Tick(t.Context(), true) })
		both.Wait()
		if tickErr != nil {
			t.Fatal(tickErr)
		}
		alive := f.control().Owned() == 1
		switch {
		case beatErr == nil && (!alive || len(tick.Dead) > 0):
			t.Fatalf("round %d: renewed and taken over", round)
		case beatErr != nil && !errors.Is(beatErr, jobs.ErrFenced):
			t.Fatal(beatErr)
		case beatErr == nil:
			renewed++
			last = max(last*4/5, 10*time.Microsecond)
		default:
			last = min(last*5/4, time.Second)
			if err := a.Leave(t.Context()); err != nil {
				t.Fatal(err)
			}
			a = nil
		}
	}
	t.Logf("%d of %d heartbeats were in time", renewed, *races)
	if renewed == 0 || renewed == *races {
		t.Errorf("the race was not one")
	}
}

// Workers are acquired while a change of K begins, and while another instance ends it.
func TestAcquireAgainstChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	a, b := f.start(), f.start()
	f.settle(a, b)
	for round := range *races {
		before := f.control()
		if round%2 == 0 { // something to acquire
			f.exec("update modulo.workers set owner = null")
		}
		k := 1 + (round*7)%9
		var requested store.Control
		var group sync.WaitGroup
		errs := make([]error, 3)
		ticks := make([]jobs.Tick, 2)
		group.Go(func() {
			if _, errs[0] = f.As(operator).ChangeWorkers(t.Context(), store.WorkersChange{Job: f.job.Name, Workers: k}); errs[0] == nil {
				requested, errs[0] = f.Control(t.Context(), f.job.Name)
			}
		})
		for i, m := range []*member{a, b} {
			group.Go(func() { ticks[i], errs[i+1] = m.Tick(t.Context(), false) })
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		after := f.control()
		if requested.Next != 0 && after.Generation == requested.Generation {
			for i, o := range after.Owners {
				if o.Instance != "" && (requested.Owners[i].Instance == "" || requested.Owners[i].Epoch != o.Epoch) {
					t.Fatalf("round %d: worker %d of a generation that ends got an owner", round, o.Number)
				}
			}
		}
		if before.Workers != k && after.Generation == before.Generation && after.Next != k {
			t.Fatalf("round %d: the change got lost: %+v", round, after)
		}
		f.settle(a, b)
		if now := f.control(); now.Workers != k || now.Owned() != k || now.Next != 0 {
			t.Fatalf("round %d: want %d workers, have %+v", round, k, now)
		}
	}
}
