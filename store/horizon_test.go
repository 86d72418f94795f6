package store_test

import (
	"fmt"
	"strings"
	"testing"

	"modulo/internal/testservers"
	"modulo/store"
)

// holdSnapshot opens a transaction whose snapshot keeps every dead row from being removed, and returns what ends it.
func (f *fixture) holdSnapshot() (release func()) {
	f.t.Helper()
	holder := testservers.Connect(f.t, f.url)
	run := func(sql string) {
		f.t.Helper()
		if _, err := holder.Exec(f.t.Context(), sql); err != nil {
			f.t.Fatal(err)
		}
	}
	run("begin isolation level repeatable read")
	run("select count(*) from modulo.outbox") // takes the snapshot
	return func() { run("rollback") }
}

// wearSQL renews every lease so many times, one heartbeat per transaction, and gives every worker a new owner each
// twelfth time.
const wearSQL = `do $$ begin for n in 1..%d loop
  update modulo.instances set beat = beat + 1, expires_at = clock_timestamp() + interval '10 minutes';
  if n %% 12 = 0 then
    update modulo.workers set owner = owner, epoch = nextval('modulo.epoch');
  end if;
  commit;
end loop; end $$`

// beatsPerHour is one every three seconds.
const beatsPerHour = 1200

// pages is how many pages each statement of a heartbeat and a tick touches.
func (f *fixture) pages() map[string]int {
	f.t.Helper()
	pages := map[string]int{}
	for name, sql := range store.OwnershipSQL() {
		plan := strings.Join(column[string](f, "explain (analyze, buffers, costs off, timing off, summary off) "+sql), "\n")
		pages[name] = buffers(f.t, plan)
	}
	return pages
}

// A report that runs for an hour keeps every dead version of the leases of three instances. Heartbeats and ticks read
// around them: they touch pages by the dozen, and the pages are free again when the report ends.
func TestOwnershipUnderAHeldSnapshot(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 8)
	a, b, c := f.start(), f.start(), f.start()
	f.settle(a, b, c)
	release := f.holdSnapshot()
	f.exec(fmt.Sprintf(wearSQL, beatsPerHour))
	worn := f.pages()
	t.Logf("pages after %d heartbeats of each of three instances: %v", beatsPerHour, worn)
	for name, pages := range worn {
		if pages > 200 {
			t.Errorf("%s: %d pages", name, pages)
		}
	}
	if err := a.Beat(t.Context()); err != nil {
		t.Error(err)
	}
	if f.settle(a, b, c) > 0 {
		t.Error("workers moved")
	}
	release()
	f.exec("vacuum modulo.instances, modulo.workers")
	for name, pages := range f.pages() {
		if pages > 100 {
			t.Errorf("%s after the snapshot is gone: %d pages", name, pages)
		}
	}
}

// BenchmarkHeldSnapshot is a heartbeat and a tick after so many hours under a held snapshot.
func BenchmarkHeldSnapshot(b *testing.B) {
	for _, hours := range []int{0, 1, 10} {
		f := newFleet(b, 8)
		one, two, three := f.start(), f.start(), f.start()
		f.settle(one, two, three)
		f.holdSnapshot()
		f.exec(fmt.Sprintf(wearSQL, hours*beatsPerHour))
		b.Run(fmt.Sprintf("beat/hours=%d", hours), func(b *testing.B) {
			for b.Loop() {
				if err := one.Beat(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("tick/hours=%d", hours), func(b *testing.B) {
			for b.Loop() {
				if _, err := one.Tick(b.Context(), false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
