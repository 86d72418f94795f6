package dashboard

import (
	"fmt"
	"strings"
	"time"

	"modulo/internal/operations"
)

// level orders what is found: the worst one is the sentence on top.
type level int

const (
	quiet level = iota
	good
	busy
	warn
	bad
)

// What a level looks like: a colour and a shape.
var (
	levelClasses = [...]string{quiet: "", good: "good", busy: "busy", warn: "warn", bad: "bad"}
	levelIcons   = [...]string{quiet: "idle", good: "ok", busy: "busy", warn: "warn", bad: "bad"}
)

// mark is a state: a colour, a shape and a word.
type mark struct {
	Class, Icon, Word string
}

func markOf(l level, word string) mark { return mark{levelClasses[l], levelIcons[l], word} }

// verdict answers whether events flow, and if they do not, why not and what to do.
type verdict struct {
	mark
	Reasons []reason
}

// reason is one thing that is found, with where to put it right.
type reason struct {
	level level
	stops bool // no event of the job flows because of it
	Text  string
	Links []link
}

// Thresholds of a verdict.
const (
	// behindAfter is how long a row may wait before a job that delivers counts as behind.
	behindAfter = time.Minute
	// stuckAfter is how long a job with pending rows may show no progress.
	stuckAfter = 30 * time.Second
	// retiredAfter is how long ago a job that nobody runs or configures any more must have shown a sign of life to be taken
	// for one that is gone for good, although nobody has paused it: a weekend.
	retiredAfter = 72 * time.Hour
)

// judge says what is to be said about a job; nothing if all is well.
func (v *renderer) judge(j operations.Job, now time.Time) []reason {
	var found []reason
	if r := v.judgeFlow(j, now); r.level != quiet {
		found = append(found, r)
	}
	if j.BacklogProblem != "" {
		where := link{Name: "See the job", Path: v.path("/jobs/", j.Job)}
		found = append(found, reason{warn, false, fmt.Sprintf("The rows of %s cannot be counted: %s", j.Job, j.BacklogProblem), []link{where}})
	}
	if j.Failed > 0 {
		text := fmt.Sprintf("%s of %s failed and %s for a person.", plural(j.Failed, "row", "rows"), j.Job, verb(j.Failed, "waits", "wait"))
		where := link{Name: "See why, and retry or discard", Path: v.path("/jobs/", j.Job) + "/failed"}
		found = append(found, reason{warn, false, text, []link{where}})
	}
	return found
}

// judgeFlow says whether rows of a job move; what comes first explains what would come after it.
func (v *renderer) judgeFlow(j operations.Job, now time.Time) reason {
	says := func(l level, stops bool, where, format string, args ...any) reason {
		links := map[string]link{
			"workers":   {Name: "See its workers", Path: v.path("/jobs/", j.Job)},
			"instances": {Name: "See the instances", Path: v.path("/instances")},
			"resume":    {Name: "Resume it", Path: v.path("/jobs/", j.Job)},
			"watch":     {Name: "Watch it", Path: v.path("/jobs/", j.Job)},
		}
		return reason{l, stops, fmt.Sprintf(format, args...), []link{links[where]}}
	}
	stuck, why := trouble(j)
	unowned := j.Workers - j.Owned
	switch {
	case j.Generation == 0:
		return says(warn, true, "instances", "%s has never run: start “modulo run” with this job.", j.Job)
	case j.TokenProblems > 0:
		return says(bad, j.TokenProblems == j.Workers, "workers", "%s of %s %s for a person: the token on the broker is gone or doubled. “modulo workers reset-token %s” says what would be sent again.",
			plural(j.TokenProblems, "worker", "workers"), j.Job, verb(j.TokenProblems, "waits", "wait"), j.Job)
	case j.Instances == 0 && !j.Configured:
		return says(warn, true, "instances", "No instance runs %s any more, and it is not configured here: what waits in it is not known. Start “modulo run” with it; if it is gone for good, “modulo pause %s” says so.",
			j.Job, j.Job)
	case j.Instances == 0:
		return says(bad, true, "instances", "No instance runs %s%s. Start “modulo run”.", j.Job, waiting(j))
	case j.Paused:
		return says(warn, true, "resume", "%s is paused%s.", j.Job, waiting(j))
	case stuck > 0 && stuck >= j.Owned:
		return says(bad, true, "workers", "No worker of %s gets anywhere%s. The last reason: %s", j.Job, waiting(j), why)
	case j.ChangingTo != 0:
		return says(busy, false, "watch", "%s is being changed from %d to %s.", j.Job, j.Workers, plural(j.ChangingTo, "worker", "workers"))
	case stuck > 0:
		return says(warn, false, "workers", "%s of %s got nowhere in the last pass: %s", plural(stuck, "worker", "workers"), j.Job, why)
	case j.Owned == 0:
		return says(bad, true, "instances", "No worker of %s has an owner%s. An instance takes them within seconds, unless --max-workers forbids it.", j.Job, waiting(j))
	case unowned > 0:
		return says(warn, false, "instances", "%s of %s %s no owner, and their rows wait. An instance takes them within seconds, unless --max-workers forbids it.",
			plural(unowned, "worker", "workers"), j.Job, verb(unowned, "has", "have"))
	case stalled(j, now):
		return says(bad, true, "workers", "%s has made no progress%s%s.", j.Job, idleFor(j.ProgressAt, now), waiting(j))
	case j.Overdue:
		return says(warn, false, "workers", "%s is behind its schedule, %s%s.", j.Job, j.Schedule, waiting(j))
	case behind(j) && j.RowsPerSecond > 0:
		return says(warn, false, "workers", "%s delivers, but is behind%s%s.", j.Job, waiting(j), eta(j))
	case behind(j):
		return says(warn, false, "workers", "%s hardly delivers%s.", j.Job, waiting(j))
	}
	return reason{}
}

// trouble is how many owned workers ended their last pass early, and why one of them did.
func trouble(j operations.Job) (workers int, why string) {
	for _, w := range j.PerWorker {
		if w.Instance != "" && w.LastPass != nil && w.LastPass.Problem != "" {
			workers, why = workers+1, w.LastPass.Problem
		}
	}
	return workers, why
}

// stalled says whether a job that runs at intervals has rows to send and gets nowhere.
func stalled(j operations.Job, now time.Time) bool {
	owned := 0.0
	for _, w := range j.PerWorker {
		if w.Instance != "" {
			owned = max(owned, w.OwnerSeconds)
		}
	}
	return j.ByInterval && stands(operations.Worker{
		Backlog: j.Backlog, OldestSeconds: j.OldestSeconds, RowsPerSecond: j.RowsPerSecond, ProgressAt: j.ProgressAt, OwnerSeconds: owned,
	}, j.Aged, now)
}

// stands says whether rows wait and none was sent for stuckAfter, of which the worker had its owner all the time.
func stands(w operations.Worker, aged bool, now time.Time) bool {
	return w.Backlog > 0 && w.RowsPerSecond == 0 && seconds(w.OwnerSeconds) > stuckAfter &&
		(!aged || seconds(w.OldestSeconds) > stuckAfter) && (w.ProgressAt == nil || now.Sub(*w.ProgressAt) > stuckAfter)
}

// behind says whether rows wait longer than they should.
func behind(j operations.Job) bool {
	return j.Backlog > 0 && (j.Overdue || j.ByInterval && oldest(j) > behindAfter)
}

// idleFor is how long ago the last progress was.
func idleFor(progress *time.Time, now time.Time) string {
	if progress == nil {
		return " so far"
	}
	return " for " + span(now.Sub(*progress))
}

func oldest(j operations.Job) time.Duration { return seconds(j.OldestSeconds) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// waiting says what waits, as in ": 3,512 rows wait, the oldest for 4 min".
func waiting(j operations.Job) string {
	if j.Backlog == 0 {
		return ""
	}
	text := ": " + atLeast(j.Backlog, j.BacklogComplete) + verb(j.Backlog, " row waits", " rows wait")
	if j.Aged && j.OldestSeconds > 0 {
		text += ", the oldest for " + span(oldest(j))
	}
	return text
}

// eta is how long the backlog lasts at the present rate.
func eta(j operations.Job) string {
	if j.RowsPerSecond <= 0 || j.Backlog == 0 {
		return ""
	}
	return "; at " + rate(j.RowsPerSecond) + " rows/s that is " + lasts(j)
}

// lasts is how long the backlog lasts at the present rate, which is not 0.
func lasts(j operations.Job) string {
	left := span(seconds(float64(j.Backlog) / j.RowsPerSecond))
	if !j.BacklogComplete {
		left = "more than " + left
	}
	return left
}

// verdictOf sums up jobs. With an error the database does not answer, and the overview is an old one.
func (v *renderer) verdictOf(list []operations.Job, s snapshot[operations.Overview], now time.Time) verdict {
	if s.Err != nil {
		return databaseVerdict(s.At, now)
	}
	var found verdict
	var sum tally
	var stopped []string
	worst := quiet
	for _, j := range list {
		if retired(j, now) {
			sum.gone = append(sum.gone, j.Job)
			continue
		}
		for _, r := range v.judge(j, now) {
			worst, found.Reasons = max(worst, r.level), append(found.Reasons, r)
			if r.stops {
				stopped = append(stopped, j.Job)
			}
		}
		sum.add(j)
	}
	sentence := sum.flow()
	if sum.late {
		worst = max(worst, warn)
	}
	if sum.failed > 0 {
		sentence += ", but " + plural(sum.failed, "row", "rows") + " failed"
	}
	switch {
	case len(stopped) > 0:
		sentence = "Events do not flow in " + strings.Join(stopped, ", ")
	case len(sum.uncounted) > 0:
		sentence = "It is not known what waits in " + strings.Join(sum.uncounted, ", ")
	case len(list) == 0:
		worst, sentence = quiet, "There is no job yet"
	case len(list) == len(sum.gone):
		worst, sentence = quiet, "No instance runs "+strings.Join(sum.gone, ", ")+", and it is not configured here"
	case worst == quiet && (len(sum.elsewhere) == 0 || sum.flows()):
		worst = good
	}
	found.mark = markOf(worst, sentence)
	return found
}

// tally sums up jobs.
type tally struct {
	counted         int      // jobs
	uncounted       []string // jobs whose rows cannot be counted
	elsewhere, gone []string // jobs that are not configured here: run by other instances, and retired
	pending, failed int
	perSecond       float64
	age             time.Duration
	late            bool // rows of a job wait for too long, and hardly any of them goes
}

func (t *tally) add(j operations.Job) {
	switch {
	case j.BacklogProblem != "":
		t.uncounted = append(t.uncounted, j.Job)
	case !j.Configured:
		t.elsewhere = append(t.elsewhere, j.Job)
	default:
		t.counted++
	}
	t.late = t.late || behind(j) && j.RowsPerSecond < 1
	t.pending, t.failed = t.pending+j.Backlog, t.failed+j.Failed
	t.perSecond, t.age = t.perSecond+j.RowsPerSecond, max(t.age, oldest(j))
}

// flows says whether so much is delivered that it can be seen.
func (t *tally) flows() bool { return t.perSecond >= 1 }

// flow says how events flow where no job has stopped. It claims nothing of rows that nobody has counted.
func (t *tally) flow() string {
	since := ""
	if t.age > 0 {
		since = ", the oldest pending row has waited " + span(t.age)
	}
	switch {
	case t.late:
		return "Rows wait: " + plural(t.pending, "row is", "rows are") + " pending" + since
	case t.flows():
		return "Events flow: " + rate(t.perSecond) + " rows/s" + since
	case t.pending > 0:
		return "Events flow: " + plural(t.pending, "row is", "rows are") + " on the way" + since
	case t.counted == 0:
		return "What waits in " + strings.Join(t.elsewhere, ", ") + " is not known here"
	case len(t.elsewhere)+len(t.gone) > 0:
		return "All is delivered of the jobs configured here"
	}
	return "All is delivered"
}

func databaseVerdict(readAt, now time.Time) verdict {
	text := "Nothing could be read from it so far."
	if !readAt.IsZero() {
		text = "What you see was read " + span(now.Sub(readAt)) + " ago."
	}
	text += " Workers wait, and go on by themselves once it is back; no row is lost."
	return verdict{markOf(bad, "The database does not answer"), []reason{{bad, true, text, nil}}}
}

func verb[N int | int64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func atLeast(n int, complete bool) string {
	if complete {
		return count(n)
	}
	return "≥ " + count(n)
}
