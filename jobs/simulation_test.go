package jobs

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"
)

// TestNoFaultLosesARow runs a worker against a world that fails wherever the real one can: in any place, any number of
// times, while rows commit late, the application withdraws rows and a person retries or discards others. After the
// faults have stopped every promise must hold.
func TestNoFaultLosesARow(t *testing.T) {
	for range 10 { // as many checks as rapid makes by default are too few for the rare ones
		rapid.Check(t, func(rt *rapid.T) {
			w := drawWorld(rt)
			synctest.Test(t, func(t *testing.T) { w.live(t) })
			if w.wrong != nil {
				rt.Fatal(w.wrong)
			}
		})
	}
}

func drawWorld(t *rapid.T) *world {
	w := newEmptyWorld(rapid.IntRange(1, 7).Draw(t, "batch"))
	w.ordered, w.atomic = rapid.Bool().Draw(t, "ordered"), rapid.Bool().Draw(t, "atomic")
	if w.recalls = w.atomic && rapid.Bool().Draw(t, "the broker keeps a record"); w.recalls {
		w.crashes = rapid.SliceOfN(rapid.Bool(), 20, 20).Draw(t, "a failed pass is a crash")
	}
	w.slow = rapid.SampledFrom([]time.Duration{0, 50 * time.Millisecond}).Draw(t, "a fetch takes")
	if rapid.Bool().Draw(t, "the front is looked for") {
		w.front = NewFront(w.findFront)
	}
	kinds := []fault{none, none, none, none, fails, fails, fails, panics}
	w.faults = map[stage][]fault{}
	for _, where := range []stage{fetching, publishing, marking} {
		n := rapid.SampledFrom([]int{0, 1, 5, 30}).Draw(t, "number of faults")
		w.faults[where] = rapid.SliceOfN(rapid.SampledFrom(kinds), n, n).Draw(t, "faults")
	}
	natures := []nature{good, good, good, good, good, invalid_, refused, healing, deadly, unmarkable}
	rows := int64(rapid.IntRange(0, 30).Draw(t, "rows"))
	there := rapid.Int64Range(0, rows).Draw(t, "rows that are there at the begin")
	arrival := 0
	for i := range rows {
		row := &simRow{id: i - 10, nature: rapid.SampledFrom(natures).Draw(t, "nature"), pending: i < there}
		if w.ordered {
			row.key = rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key")
		}
		if !row.pending {
			arrival += rapid.IntRange(0, 30).Draw(t, "comes after")
		}
		commits := arrival
		if row.late = rapid.IntRange(0, 9).Draw(t, "late") == 0; row.late {
			row.pending = false
			commits += rapid.IntRange(0, 200).Draw(t, "late by")
		}
		if !row.pending {
			w.events = append(w.events, event{at: commits, kind: "commit", id: row.id})
		}
		w.insert(row)
	}
	for range rapid.IntRange(0, min(int(rows), 8)).Draw(t, "events") {
		w.events = append(w.events, event{
			at:   rapid.IntRange(0, 300).Draw(t, "at"),
			kind: rapid.SampledFrom([]string{"withdraw", "discard", "retry"}).Draw(t, "kind"),
			id:   rapid.Int64Range(0, rows-1).Draw(t, "row") - 10,
		})
	}
	slices.SortStableFunc(w.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return w
}

// live passes until nothing changes any more, for a simulated day or so: first with the rows there are, then with new
// ones that come in, which show that the broker is alive and tell what it does not survive from an outage.
func (w *world) live(t *testing.T) {
	worker := w.worker(t, zerolog.Nop())
	worker = w.settle(t, worker)
	for next := int64(1000); w.wrong == nil && len(w.suspects()) > 0 && next < 1100; next++ {
		w.insert(&simRow{id: next, pending: true})
		worker = w.settle(t, worker)
	}
	if w.wrong == nil {
		w.check()
	}
}

// settle passes until faults and events are over and nothing more changes. It returns the worker, which may be another
// one after a crash.
func (w *world) settle(t *testing.T, worker *Worker) *Worker {
	const enough = 8 // passes: what a connection did not survive is found in halves
	for quiet := 0; quiet < enough && w.wrong == nil; quiet++ {
		before := w.state()
		outcome, err := worker.Pass(context.Background())
		for _, id := range worker.aside.ids() {
			w.wasAside[id] = true
		}
		if err != nil && len(w.crashes) > 0 {
			if w.crashes[0] {
				_ = w.Close()
				worker = w.owner(t, zerolog.Nop(), true)
			}
			w.crashes = w.crashes[1:]
		}
		over := len(w.faults[fetching])+len(w.faults[publishing])+len(w.faults[marking])+len(w.events) == 0
		due := w.nextDue()
		if !over || w.state() != before || due.After(time.Now()) {
			quiet = 0
		}
		switch {
		case outcome.again:
		case err != nil:
			time.Sleep(maxPause)
		case over && due.IsZero():
			quiet += enough / 2 // two sweeps that find nothing are enough
			time.Sleep(sweepMaxRest)
		default:
			time.Sleep(max(time.Second, time.Until(due)))
		}
		for where, left := range w.faults { // they end, even if the worker does nothing
			w.faults[where] = left[min(1, len(left)):]
		}
		w.calls++
	}
	return worker
}

// suspects are the rows that an outage may be to blame for as far as the worker knows.
func (w *world) suspects() (ids []int64) {
	for _, id := range w.pendingIDs() {
		if f := w.ledger[id]; w.table[id].nature == deadly && (f == nil || !f.dueAt.IsZero()) && !w.held(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// state changes with all that a pass can achieve.
func (w *world) state() [4]int {
	attempts := 0
	for _, f := range w.ledger {
		attempts += 1 + f.Attempts
	}
	return [4]int{len(w.pendingIDs()), len(w.delivered), len(w.ledger), attempts}
}

// nextDue is when the next failed row is tried again; zero if there is none.
func (w *world) nextDue() (next time.Time) {
	for id, f := range w.ledger {
		if !f.dueAt.IsZero() && !w.held(id) && (next.IsZero() || f.dueAt.Before(next)) {
			next = f.dueAt
		}
	}
	return next
}

// check holds the outcome against the promises: nothing lost, nothing repeated without need, the order kept, bad rows
// parked and nobody else. It notes the first promise that is broken.
func (w *world) check() {
	times := map[int64]int{}
	var first []int64
	for _, id := range w.delivered {
		if times[id]++; times[id] == 1 {
			first = append(first, id)
		}
	}
	repeats := len(w.delivered) - len(first)
	if w.recalls && repeats > 0 {
		w.broken("%d repeats, although the broker keeps a record", repeats)
	}
	if repeats > w.doubts {
		w.broken("%d repeats, but only %d messages were in doubt", repeats, w.doubts)
	}
	if repeats > w.total.Repeated {
		w.broken("%d repeats, but only %d were counted", repeats, w.total.Repeated)
	}
	for id, r := range w.table {
		failed := w.ledger[id]
		switch {
		case w.held(id) || r.withdrawn:
		case r.pending && failed == nil:
			w.broken("row %d is left over", id)
		case r.pending && failed != nil && failed.discarded && r.nature != unmarkable:
			w.broken("row %d was discarded, but is still there", id)
		case r.pending && (r.nature == good || r.nature == healing):
			w.broken("row %d has failed for good: %+v", id, failed)
		}
	}
	w.checkOrder(first)
}

// checkOrder looks at first deliveries. Rows that committed late come after others, and so may single suspects where
// there is no order to keep.
func (w *world) checkOrder(first []int64) {
	groups := map[string][]int64{}
	for _, id := range first {
		r := w.table[id]
		switch {
		case r.late:
		case w.ordered && r.key != "":
			groups[r.key] = append(groups[r.key], id)
		case !w.ordered && r.nature == good && !w.wasAside[id]:
			groups[""] = append(groups[""], id)
		}
	}
	for key, ids := range groups {
		if !slices.IsSorted(ids) {
			w.broken("first deliveries of key %q are out of order: %v", key, ids)
		}
	}
}
