package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"modulo/jobs"
	"modulo/store"
)

// history are the entries since the last call, as "worker passes result sent/failed: problem".
func (n *notebook) history() (lines []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.passes {
		lines = append(lines, fmt.Sprintf("%s/%d %d %s %d/%d: %s", p.Job, p.Number, p.Passes, p.Result, p.Sent, p.Failed, p.Problem))
	}
	n.passes = nil
	slices.Sort(lines)
	return lines
}

// What passes did is in the history within seconds: those of a job at intervals together, those by cron one by one, also
// where the database was away or the worker is nobody's any more. Passes without rows leave nothing.
func TestTellPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, notes := newMonitor(), &notebook{}
		end := telling(t, m, notes)
		step := stepping(t, notes.history)
		did, gone := jobs.Outcome{Fetched: 9, Sent: 9, Done: 8, Failed: 1, Took: time.Second}, errors.New("no broker")
		m.Passed(orders, jobs.Outcome{}, nil)
		m.Passed(orders, jobs.Outcome{}, context.Canceled)
		step(5 * time.Second)
		m.Passed(orders, did, nil)
		m.Passed(orders, did, nil)
		m.Passed(nightly, did, nil)
		m.Passed(nightly, did, nil)
		step(5*time.Second, "nightly/0 1 complete 9/1: ", "nightly/0 1 complete 9/1: ", "orders/0 2 complete 18/2: ")
		step(5 * time.Second)
		fifth, cut := jobs.WorkerID{Job: "orders", Number: 5}, did
		cut.Stopped = true
		m.Passed(fifth, jobs.Outcome{Stopped: true}, nil)
		m.Passed(fifth, cut, nil)
		m.Passed(fifth, did, nil)
		m.Passed(fifth, cut, nil)
		step(5*time.Second, "orders/5 1 complete 9/1: ", "orders/5 2 ended early 18/2: told to stop: rows may be left")
		m.Passed(orders, did, nil)
		m.Passed(orders, jobs.Outcome{}, gone)
		m.Passed(nightly, jobs.Outcome{}, gone)
		m.Passed(nightly, jobs.Outcome{}, errors.New("still no broker"))
		notes.set(func(n *notebook) { n.away = true })
		step(5 * time.Second)
		m.Passed(orders, jobs.Outcome{}, gone)
		notes.set(func(n *notebook) { n.away = false })
		step(5*time.Second, "nightly/0 2 ended early 0/0: still no broker", "orders/0 2 ended early 0/0: no broker", "orders/0 3 complete 27/3: ")
		m.Due("nightly")
		step(5*time.Second, "nightly/0 1 missed 0/0: the pass before was still under way, or tried again")
		time.Sleep(time.Minute)
		m.Passed(orders, jobs.Outcome{}, gone)
		m.Left()
		m.Passed(orders, did, nil) // of the last batch
		end()
		step(0, "orders/0 1 complete 9/1: ", "orders/0 1 ended early 0/0: no broker")
		if notes.pruned != 3 { // while there is more, one time after the other
			t.Errorf("pruned %d times", notes.pruned)
		}
	})
}

// A process that ends before its first regular note, as once does, writes and prunes at its end.
func TestTellOfAShortLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, notes := newMonitor(), &notebook{}
		ctx, stop := context.WithCancel(t.Context())
		m.Did(orders, jobs.StepMark, 8, time.Second, nil)
		m.Passed(orders, jobs.Outcome{Fetched: 9, Sent: 9, Done: 8, Failed: 1}, nil)
		stop()
		m.Tell(ctx, notes, time.Second)
		if got := notes.history(); !slices.Equal(got, []string{"orders/0 1 complete 9/1: "}) || notes.pruned != 1 {
			t.Errorf("history %q, pruned %d times", got, notes.pruned)
		}
		if got := notes.told(orders); !slices.Equal(got, []string{`8 done, 0/s, pass 8/1, ""`}) {
			t.Errorf("told %q", got)
		}
	})
}

// Notes that are lost at the end are told of: there is no next time.
func TestTellOfTheLastNotesLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		m := newMonitor()
		m.Log = zerolog.New(&log)
		ctx, stop := context.WithCancel(t.Context())
		m.Did(orders, jobs.StepMark, 8, time.Second, nil)
		stop()
		m.Tell(ctx, &notebook{slow: true}, time.Second)
		if !strings.Contains(log.String(), "progress is not noted") {
			t.Errorf("not told: %s", log.String())
		}
	})
}

// Passes that nobody could begin are one entry, whichever instances tell of them, and although some are late.
func TestUnownedPassesAreMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, meant := newMonitor(), time.Now() // a whole minute
		unowned := tick("")
		unowned.Jobs[1].Unowned = 1
		m.Ticked(unowned)
		m.Due("nightly")
		time.Sleep(20 * time.Second)
		m.Due("nightly") // as another instance
		_, list := m.past.take()
		for _, p := range list {
			if p.Number != store.NoWorker || p.Passes != 1 || !p.BeganAt.Equal(meant) {
				t.Errorf("%+v", p)
			}
		}
		if len(list) != 2 {
			t.Errorf("%d entries", len(list))
		}
	})
}

// A silent database does not make the history grow without end: the oldest entries are given up.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMonitor()
	for range maxUnwritten + 7 {
		m.Passed(nightly, jobs.Outcome{Sent: 1}, nil)
	}
	entries, list := m.past.take()
	if len(list) != maxUnwritten || m.past.lost != 7 {
		t.Errorf("%d entries wait, %d are lost", len(list), m.past.lost)
	}
	m.Passed(orders, jobs.Outcome{Sent: 1}, nil)
	m.past.again(entries)
	if _, list := m.past.take(); len(list) != maxUnwritten || list[maxUnwritten-1].Job != "orders" || m.past.lost != 8 {
		t.Errorf("%d entries wait after a failed try, %d are lost", len(list), m.past.lost)
	}
}
