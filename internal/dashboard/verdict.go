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
	Text  string
	Links []link
}

// Thresholds of a verdict.
const (
	// behindAfter is how long a row may wait before a job that delivers counts as behind.
	behindAfter = time.Minute
	// stuckAfter is how long a job with pending rows may show no progress.
	stuckAfter = 30 * time.Second
)

// judge says what is to be said about a job; nothing if all is well.
func (v *renderer) judge(j operations.Job, now time.Time) []reason {
	var found []reason
	if l, where, text := v.judgeFlow(j, now); l != quiet {
		found = append(found, reason{l, text, []link{where}})
	}
	if j.Failed > 0 {
		where := link{Name: "See why, and retry or discard", Path: v.path("/jobs/", j.Job) + "/failed"}
		text := fmt.Sprintf("%s of %s failed and %s for a person.", plural(j.Failed, "row", "rows"), j.Job, verb(j.Failed, "waits", "wait"))
		found = append(found, reason{warn, text, []link{where}})
	}
	return found
}

// judgeFlow says whether rows of a job move; what comes first explains what would come after it.
func (v *renderer) judgeFlow(j operations.Job, now time.Time) (level, link, string) {
	workers := link{Name: "See its workers", Path: v.path("/jobs/", j.Job)}
	instances := link{Name: "See the instances", Path: v.path("/instances")}
	stuck, why := trouble(j)
	unowned := j.Workers - j.Owned
	switch {
	case j.Generation == 0:
		return warn, instances, j.Job + " has never run: start “modulo run” with this job."
	case j.TokenProblems > 0:
		return bad, workers, fmt.Sprintf("%s of %s %s for a person: the token on the broker is gone or doubled. “modulo workers reset-token %s” says what would be sent again.",
			plural(j.TokenProblems, "worker", "workers"), j.Job, verb(j.TokenProblems, "waits", "wait"), j.Job)
	case j.Instances == 0:
		return bad, instances, "No instance runs " + j.Job + waiting(j) + ". Start “modulo run”."
	case j.Paused:
		return warn, link{Name: "Resume it", Path: workers.Path}, j.Job + " is paused" + waiting(j) + "."
	case stuck > 0 && stuck >= j.Owned:
		return bad, workers, "No worker of " + j.Job + " gets anywhere" + waiting(j) + ". The last reason: " + why
	case j.ChangingTo != 0:
		return busy, link{Name: "Watch it", Path: workers.Path}, fmt.Sprintf("%s is being changed from %d to %s.", j.Job, j.Workers, plural(j.ChangingTo, "worker", "workers"))
	case stuck > 0:
		return warn, workers, fmt.Sprintf("%s of %s got nowhere in the last pass: %s", plural(stuck, "worker", "workers"), j.Job, why)
	case j.Owned == 0:
		return bad, instances, "No worker of " + j.Job + " has an owner" + waiting(j) + ". An instance takes them within seconds, unless --max-workers forbids it."
	case unowned > 0:
		return warn, instances, fmt.Sprintf("%s of %s %s no owner, and their rows wait. An instance takes them within seconds, unless --max-workers forbids it.",
			plural(unowned, "worker", "workers"), j.Job, verb(unowned, "has", "have"))
	case stalled(j, now):
		return bad, workers, j.Job + " has made no progress for " + span(now.Sub(*j.ProgressAt)) + waiting(j) + "."
	case byInterval(j) && oldest(j) > behindAfter && j.RowsPerSecond > 0:
		return warn, workers, j.Job + " delivers, but is behind" + waiting(j) + eta(j) + "."
	}
	return quiet, link{}, ""
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

// byInterval: a job by cron may let rows wait until its time has come.
func byInterval(j operations.Job) bool { return !strings.HasPrefix(j.Schedule, "cron ") }

// stalled says whether a job that runs at intervals has rows to send and gets nowhere.
func stalled(j operations.Job, now time.Time) bool {
	return byInterval(j) && j.Backlog > 0 && oldest(j) > stuckAfter && j.ProgressAt != nil && now.Sub(*j.ProgressAt) > stuckAfter
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
	left := span(seconds(float64(j.Backlog) / j.RowsPerSecond))
	if !j.BacklogComplete {
		left = "more than " + left
	}
	return "; at " + rate(j.RowsPerSecond) + " rows/s that is " + left
}

// verdictOf sums up jobs. With an error the database does not answer, and the overview is an old one.
func (v *renderer) verdictOf(list []operations.Job, s snapshot[operations.Overview], now time.Time) verdict {
	if s.Err != nil {
		return databaseVerdict(s.At, now)
	}
	var sum verdict
	var stopped []string
	worst, pending, perSecond, age := quiet, 0, 0.0, time.Duration(0)
	for _, j := range list {
		found := v.judge(j, now)
		worstHere := quiet
		for _, r := range found {
			worstHere = max(worstHere, r.level)
		}
		if worstHere == bad {
			stopped = append(stopped, j.Job)
		}
		worst, sum.Reasons = max(worst, worstHere), append(sum.Reasons, found...)
		pending, perSecond, age = pending+j.Backlog, perSecond+j.RowsPerSecond, max(age, oldest(j))
	}
	sentence := "All is delivered: no row is pending"
	if pending > 0 || perSecond >= 1 {
		sentence = "Events flow: " + rate(perSecond) + " rows/s"
		if age > 0 {
			sentence += ", the oldest pending row has waited " + span(age)
		}
	}
	switch {
	case worst == bad:
		sentence = "Events do not flow in " + strings.Join(stopped, ", ")
	case len(list) == 0:
		worst, sentence = quiet, "There is no job yet"
	case worst == quiet:
		worst = good
	}
	sum.mark = markOf(worst, sentence)
	return sum
}

func databaseVerdict(readAt, now time.Time) verdict {
	text := "Nothing could be read from it so far."
	if !readAt.IsZero() {
		text = "What you see was read " + span(now.Sub(readAt)) + " ago."
	}
	text += " Workers wait, and go on by themselves once it is back; no row is lost."
	return verdict{markOf(bad, "The database does not answer"), []reason{{bad, text, nil}}}
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
