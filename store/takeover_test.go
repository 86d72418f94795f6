package store_test

import (
	"testing"

	"modulo/jobs"
	"modulo/store"
)

// Why a worker was free is told once, by the tick that takes it.
func TestTakeoverReasons(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	takes := func(m *member, want jobs.Takeover) []jobs.Owned {
		t.Helper()
		owned := m.step().Owned
		if len(owned) != 1 || owned[0].Takeover != want {
			t.Fatalf("owned %+v, want one with takeover %q", owned, want)
		}
		if again := m.step().Owned; again[0].Takeover != "" {
			t.Errorf("told again: %+v", again)
		}
		return owned
	}
	hands := func(m *member, owned []jobs.Owned, unfinished bool) {
		t.Helper()
		owned[0].Unfinished = unfinished
		if err := m.Release(t.Context(), f.job.Name, owned); err != nil {
			t.Fatal(err)
		}
	}
	a := f.start()
	hands(a, takes(a, jobs.TakeoverNew), false)
	hands(a, takes(a, jobs.TakeoverReleased), true)
	takes(a, jobs.TakeoverUnfinished)
	f.expire(a)
	b := f.start()
	takes(b, jobs.TakeoverUnfinished)
	if _, err := f.As(operator).ChangeWorkers(t.Context(), store.WorkersChange{Job: f.job.Name, Workers: 2}); err != nil {
		t.Fatal(err)
	}
	f.settle(b)
	if owned := b.last.Owned; len(owned) != 2 {
		t.Fatalf("owned %+v, want 2", owned)
	}
}

// Workers in the share of an instance whose lease lasts are nobody else's meanwhile, dead or alive; those beyond the limits
// of all wait for more instances.
func TestReservedWorkers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	limited := f.start(func(cfg *store.OwnershipConfig) { cfg.MaxWorkers = 1 })
	if state := limited.step(); state.Unowned != 3 || state.Reserved != 0 {
		t.Errorf("alone: %d unowned, %d reserved", state.Unowned, state.Reserved)
	}
	f.start() // and never ticks
	if state := limited.step(); state.Unowned != 3 || state.Reserved != 3 {
		t.Errorf("beside one that could take them: %d unowned, %d reserved", state.Unowned, state.Reserved)
	}
	f.exec("update modulo.instances set expires_at = clock_timestamp() where max_workers is null")
	if state := limited.step(); state.Unowned != 3 || state.Reserved != 0 {
		t.Errorf("after its lease: %d unowned, %d reserved", state.Unowned, state.Reserved)
	}
}
