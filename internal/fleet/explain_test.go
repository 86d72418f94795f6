package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// openBatches is how many batches of a worker one fault may leave open.
const openBatches = 2

var (
	// takeOverLimit is how long after a strike the workers of its victim have other owners.
	takeOverLimit = stormLease + 2*stormTick
	// handOverLimit is the same after a SIGTERM: what is in flight is finished first.
	handOverLimit = 2*stormTick + 500*time.Millisecond
)

// outcome is what the strikes did to ownership and to the stream, by kind.
type outcome struct {
	takeOver map[*kind]time.Duration // slowest, from the strike to the next owner, by the database's ledger
	resumed  map[*kind]time.Duration // slowest, from the strike to the first frame of the next owner
	back     map[*kind]time.Duration // slowest return of the victim
	owned    map[*kind]int           // workers
	repeats  map[*kind]int           // of workers owned meanwhile; several kinds may share one
	measured int                     // workers whose take-over is among the times of a storm of servers
	bound    int
	wrong    []string
}

func (o *outcome) fail(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

func newOutcome() *outcome {
	return &outcome{
		takeOver: map[*kind]time.Duration{}, resumed: map[*kind]time.Duration{}, back: map[*kind]time.Duration{},
		owned: map[*kind]int{}, repeats: map[*kind]int{},
	}
}

// explain holds the ledger and the repeats against the strikes.
func explain(stream *stream, struck []*strike, l ledger) *outcome {
	o := newOutcome()
	o.explainStream(stream, struck, l)
	for i := range l {
		o.explainEnd(stream, struck, l, &l[i])
	}
	return o
}

// explainStream holds the repeats against the strikes.
func (o *outcome) explainStream(stream *stream, struck []*strike, l ledger) {
	repeats, _ := stream.repeated()
	for i := range l {
		o.explainRepeats(&l[i], struck, repeats[l[i].epoch])
	}
	for epoch := range repeats {
		if l.byEpoch(epoch) == nil {
			o.fail("%d repeats of epoch %d, which nobody owned", repeats[epoch], epoch)
		}
	}
	for _, s := range struck {
		o.back[s.kind] = max(o.back[s.kind], s.back)
	}
}

// explainRepeats: what was first delivered by an owner comes again only because of the strikes that hit that owner while it
// owned the worker, and at most so often.
func (o *outcome) explainRepeats(t *tenure, struck []*strike, repeats int) {
	bound := 0
	for _, s := range struck {
		if !s.hits(t) {
			continue
		}
		o.owned[s.kind]++
		if s.kind.repeats {
			bound += explained(openBatches)
			o.repeats[s.kind] += repeats
		}
	}
	o.bound += bound
	if repeats > bound {
		o.fail("%d repeats of what worker %d/%d sent in epoch %d (process %d), the faults explain %d",
			repeats, t.number, t.of, t.epoch, t.pid, bound)
	}
}

// explainEnd: a worker is taken away only from an owner that was struck; it is, if the strike lasts; and then it has another
// owner in time.
func (o *outcome) explainEnd(stream *stream, struck []*strike, l ledger, t *tenure) {
	var cause *strike
	doomed := false
	for _, s := range struck {
		if !s.loses || s.pid != t.pid {
			continue
		}
		if t.overlaps(s.began, s.mended) { // what it had asked for before may come after
			cause = s
		}
		doomed = doomed || s.dooms(t)
	}
	switch {
	case cause == nil && t.taken && !doomed:
		o.fail("process %d lost worker %d/%d at %s, though nothing had struck it", t.pid, t.number, t.of, t.to.Format(clock))
	case cause == nil:
	case t.to.IsZero() || t.to.After(cause.mended) && t.to.After(cause.deadline().Add(*busy)):
		if lasted := cause.mended.Sub(cause.began); t.to.IsZero() && cause.ends || lasted > takeOverLimit+*busy {
			o.fail("%s: worker %d/%d was not taken over", cause, t.number, t.of)
		}
	case t.taken || cause.ends:
		o.explainTakeOver(stream, cause, struck, l, t)
	}
}

// dooms says whether the owner took the worker when its line was mended, but too late for a renewal of the lease that it then
// lost. In the database that lease may last once more: a heartbeat from the time of the strike can arrive as late as its end.
func (s *strike) dooms(t *tenure) bool {
	return t.from.After(s.mended) && t.from.Before(s.began.Add(stormLease)) && t.to.Before(s.began.Add(stormLease+takeOverLimit+*busy))
}

// explainTakeOver measures how long the worker had no other owner. When others are struck as well, their leases may have
// to be waited for too: the time counts from the strike that explains the longest wait.
func (o *outcome) explainTakeOver(stream *stream, s *strike, struck []*strike, l ledger, t *tenure) {
	next := l.next(t)
	if next == nil {
		o.fail("%s: worker %d/%d was not taken over", s, t.number, t.of)
		return
	}
	since := s
	for _, other := range struck {
		if other.loses && !other.began.After(next.from) && other.deadline().After(since.deadline()) {
			since = other
		}
	}
	took := next.from.Sub(since.began)
	o.takeOver[since.kind] = max(o.takeOver[since.kind], took)
	if frame := stream.firstFrame(next.epoch); !frame.IsZero() {
		o.resumed[since.kind] = max(o.resumed[since.kind], frame.Sub(since.began))
	}
	if next.from.After(since.deadline().Add(*busy)) {
		o.fail("%s: worker %d/%d had its next owner at %s, %s after %s",
			s, t.number, t.of, next.from.Format(clock), took.Round(time.Millisecond), since.name)
	}
}

// deadline is when the victim's workers have other owners at the latest.
func (s *strike) deadline() time.Time {
	if !s.kind.repeats {
		return s.began.Add(handOverLimit)
	}
	return s.began.Add(takeOverLimit)
}

// print is the table of `make chaos`.
func (o *outcome) print(t *testing.T, f *fleet, v verdict, struck []*strike, blew time.Duration, cabled bool) {
	t.Helper()
	var text strings.Builder
	by := "network namespaces"
	if !cabled {
		by = "stalls of a proxy, as there are no namespaces here"
	}
	fmt.Fprintf(&text, "%d instances, K = %d, %.0f rows/s (of %d), %s, lease %s, tick %s, cut off by %s\n",
		members, stormWorkers, f.load.perSecond(), *rate, blew.Round(time.Second), stormLease, stormTick, by)
	o.printFaults(&text, kinds, struck)
	fmt.Fprintf(&text, "repeats: of workers that were owned meanwhile; those of faults at the same time count for each\n")
	fmt.Fprintf(&text, "times: the slowest, of the fault that had to be waited for; a take-over may last %s, after SIGTERM %s, and %s more on a busy machine\n\n",
		takeOverLimit, handOverLimit, *busy)
	o.printVerdict(&text, v)
	t.Log(text.String())
}

// printFaults prints a line for each kind.
func (o *outcome) printFaults(text *strings.Builder, kinds []*kind, struck []*strike) {
	fmt.Fprintf(text, "%-36s%7s%9s%9s%11s%11s%9s\n", "fault", "times", "workers", "repeats", "take-over", "next frame", "return")
	round := func(d time.Duration) string {
		if d == 0 {
			return "-"
		}
		return d.Round(10 * time.Millisecond).String()
	}
	for _, k := range kinds {
		times := 0
		for _, s := range struck {
			if s.kind == k {
				times++
			}
		}
		fmt.Fprintf(text, "%-36s%7d%9d%9d%11s%11s%9s\n", k.name, times, o.owned[k], o.repeats[k],
			round(o.takeOver[k]), round(o.resumed[k]), round(o.back[k]))
	}
}

func (o *outcome) printVerdict(text *strings.Builder, v verdict) {
	fmt.Fprintf(text, "%-36s%7d\n%-36s%7d\n%-36s%7d%20s\n", "rows", v.rows, "received", v.received, "repeats", v.repeats,
		fmt.Sprint("bound ", o.bound))
	for _, b := range breaches {
		fmt.Fprintf(text, "%-36s%7d\n", b, v.breaches[b])
	}
	fmt.Fprintf(text, "%-36s%7d\n", "unexplained", len(o.wrong))
}
