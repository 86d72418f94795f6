package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// report prints what a scenario did and what the oracle found.
func report(t testing.TB, s scenario, moments []*moment, v *verdict, took time.Duration) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %d x %d rows, K = %d, batch %d, %s\n", t.Name(), s.rounds, s.rows, s.workers, s.batch, took.Round(100*time.Millisecond))
	fmt.Fprintf(&text, "%-26s%8s%22s%18s\n", "fault", "times", "with rows in flight", "slowest return")
	for _, f := range s.faults {
		times, inFlight, back := tally(f, moments)
		fmt.Fprintf(&text, "%-26s%8d%22d%18s\n", f.name, times, inFlight, back.Round(10*time.Millisecond))
	}
	fmt.Fprintf(&text, "\n%-26s%8d\n%-26s%8d\n%-26s%8d%22s\n", "rows", v.rows, "received", v.received,
		"repeats", v.repeats, fmt.Sprint("bound ", v.bound))
	for _, b := range breaches {
		fmt.Fprintf(&text, "%-26s%8d\n", b, v.count[b])
	}
	t.Log(text.String())
}

func tally(f *fault, moments []*moment) (times, inFlight int, back time.Duration) {
	for _, m := range moments {
		for _, h := range m.faults {
			if h.fault != f {
				continue
			}
			times++
			back = max(back, h.back)
			if h.inFlight > 0 {
				inFlight++
			}
		}
	}
	return times, inFlight, back
}
