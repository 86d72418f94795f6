package dashboard

import (
	"context"
	"html/template"
	"net/http"
	"slices"
	"time"

	"modulo/internal/operations"
)

// overviewPage is the screen of all jobs.
type overviewPage struct {
	rights
	Verdict verdict
	Totals  []tile
	Jobs    []jobLine
}

// tile is a number of all jobs together.
type tile struct {
	Name, Value, Note string
	Spark             template.HTML
}

// jobLine is a job at a glance.
type jobLine struct {
	Name             string
	State            mark
	Known, Paused    bool
	Elsewhere        bool   // not configured here
	Switch           string // "pause" or "resume"
	Workers, Owned   int
	Backlog, Oldest  string
	OldestNote       string
	RetryNote        string
	Rate             string
	Failed, Retrying int
	LastPass         template.HTML
	NextPass         template.HTML
	Spark            template.HTML
}

// overview is what everybody sees within the same moments.
func (d *Dashboard) overview(ctx context.Context) snapshot[operations.Overview] {
	return d.overviews.get(ctx, "", d.Console.Overview)
}

func (d *Dashboard) readOverview(r *http.Request) (frame, error) {
	now, o := time.Now(), d.overview(r.Context())
	page := overviewPage{rights: rightsOf(r), Verdict: d.render.verdictOf(o.Value.Jobs, o, now), Totals: d.totals(o.Value.Jobs, now)}
	for _, j := range o.Value.Jobs {
		page.Jobs = append(page.Jobs, d.line(j, now))
	}
	return frame{Title: page.Verdict.Word, Section: "Overview", Command: "modulo status", Page: page}, nil
}

func (d *Dashboard) line(j operations.Job, now time.Time) jobLine {
	line := jobLine{
		Name: j.Job, State: stateMark(j, now), Known: j.Generation > 0, Paused: j.Paused, Switch: "pause", Workers: j.Workers, Owned: j.Owned,
		Backlog: atLeast(j.Backlog, j.BacklogComplete), Oldest: ageOf(j.Aged, j.Backlog, j.OldestSeconds), Rate: rate(j.RowsPerSecond),
		Failed: j.Failed, Retrying: j.Retrying, LastPass: momentOf(now, j.PassAt), NextPass: nextPass(now, j),
		Spark: spark("inline", "Rows per second", d.past(j.Job, rateOf), rate),
	}
	line.RetryNote, line.OldestNote = retryNote(j.Retrying), "since it was inserted"
	if j.Backlog == 0 {
		line.OldestNote = "no row is pending"
	}
	if j.BacklogProblem != "" {
		line.Backlog, line.Oldest, line.OldestNote = "unknown", "unknown", "the rows cannot be counted"
	}
	if !j.Configured {
		line.Elsewhere, line.Backlog, line.Oldest, line.OldestNote = true, "unknown", "unknown", "not configured here"
	}
	if j.Paused {
		line.Switch = "resume"
	}
	return line
}

// stateMark tells a job's state by colour, shape and word.
func stateMark(j operations.Job, now time.Time) mark {
	levels := map[operations.State]level{
		operations.StateRunning: good, operations.StateChanging: busy, operations.StateStopped: bad,
		operations.StatePartly: warn, operations.StateToken: bad,
	}
	if retired(j, now) {
		return markOf(quiet, "no instance")
	}
	if !j.Configured && j.Instances == 0 {
		return markOf(warn, "no instance")
	}
	if j.State == operations.StatePaused {
		return mark{"warn", "pause", "paused"}
	}
	return markOf(levels[j.State], j.Text())
}

// retired says that no instance has the job any more, this one included, and has not had it for long, or that somebody has
// paused it: nobody waits for it.
func retired(j operations.Job, now time.Time) bool {
	recent := func(at *time.Time) bool { return at != nil && now.Sub(*at) < retiredAfter }
	return !j.Configured && j.Instances == 0 && (j.Paused || !recent(j.ProgressAt) && !recent(j.PassAt))
}

// ageOf is the age of the oldest pending row; there may be none, or a table that does not tell.
func ageOf(aged bool, pending int, age float64) string {
	switch {
	case pending == 0:
		return "–"
	case !aged:
		return "unknown"
	}
	return span(seconds(age))
}

func momentOf(now time.Time, at *time.Time) template.HTML {
	if at == nil {
		return moment(now, time.Time{})
	}
	return moment(now, *at)
}

func nextPass(now time.Time, j operations.Job) template.HTML {
	if j.NextAt == nil {
		return `<span class="muted">none</span>`
	}
	if j.ByInterval {
		return template.HTML(template.HTMLEscapeString(j.Schedule))
	}
	return moment(now, *j.NextAt)
}

// totals sums up the jobs.
func (d *Dashboard) totals(list []operations.Job, now time.Time) []tile {
	if len(list) == 0 {
		return nil
	}
	var rates, backlogs, ages, failures []float64
	var sum operations.Job
	var done int64
	complete, aged := true, false
	list = slices.DeleteFunc(slices.Clone(list), func(j operations.Job) bool { return retired(j, now) })
	for _, j := range list {
		rates, backlogs = add(rates, d.past(j.Job, rateOf)), add(backlogs, d.past(j.Job, backlogOf))
		ages, failures = higher(ages, d.past(j.Job, oldestOf)), add(failures, d.past(j.Job, failedOf))
		sum.Backlog, sum.Failed, sum.Retrying = sum.Backlog+j.Backlog, sum.Failed+j.Failed, sum.Retrying+j.Retrying
		sum.Owned, sum.Workers, sum.RowsPerSecond = sum.Owned+j.Owned, sum.Workers+j.Workers, sum.RowsPerSecond+j.RowsPerSecond
		sum.OldestSeconds, done = max(sum.OldestSeconds, j.OldestSeconds), done+j.Done
		complete, aged = complete && (j.BacklogComplete || !j.Configured), aged || j.Aged
	}
	whole := func(v float64) string { return count(int64(v)) }
	age := func(v float64) string { return span(seconds(v)) }
	return []tile{
		{"Rows per second", rate(sum.RowsPerSecond), count(done) + " delivered so far", spark("", "Rows per second", rates, rate)},
		{"Backlog", atLeast(sum.Backlog, complete), backlogNote(list, peakNote(backlogs, whole)), spark("", "Backlog", backlogs, whole)},
		{"Oldest pending row", ageOf(aged, sum.Backlog, sum.OldestSeconds), peakNote(ages, age), spark("", "Oldest pending row", ages, age)},
		{"Failed rows", count(sum.Failed), retryNote(sum.Retrying), spark("", "Failed rows", failures, whole)},
		{"Workers with an owner", count(sum.Owned) + " of " + count(sum.Workers), "in " + plural(len(list), "job", "jobs"), ""},
	}
}

// backlogNote says whose rows are not in a sum.
func backlogNote(list []operations.Job, note string) string {
	if slices.ContainsFunc(list, func(j operations.Job) bool { return !j.Configured }) {
		return "of the jobs configured here; " + note
	}
	return note
}

func retryNote(retrying int) string {
	if retrying == 0 {
		return "none is being retried"
	}
	return count(retrying) + " more " + verb(retrying, "is", "are") + " tried again by themselves"
}

// add sums up what ends at the same moment, and higher takes the greater.
func add(a, b []float64) []float64 { return joined(a, b, func(x, y float64) float64 { return x + y }) }

func higher(a, b []float64) []float64 {
	return joined(a, b, func(x, y float64) float64 { return max(x, y) })
}

func joined(a, b []float64, join func(x, y float64) float64) []float64 {
	if len(a) < len(b) {
		a, b = b, a
	}
	whole := slices.Clone(a)
	for i, v := range b {
		at := len(a) - len(b) + i
		whole[at] = join(whole[at], v)
	}
	return whole
}

// past is one value of each point of a job's last hour, oldest first.
func (d *Dashboard) past(job string, value func(operations.Point) float64) []float64 {
	points := d.Console.History(job)
	values := make([]float64, len(points))
	for i, p := range points {
		values[i] = value(p)
	}
	return values
}

func rateOf(p operations.Point) float64 { return float64(p.Done) / operations.HistoryStep.Seconds() }

func backlogOf(p operations.Point) float64 { return float64(p.Backlog) }

func oldestOf(p operations.Point) float64 { return p.OldestSeconds }

func failedOf(p operations.Point) float64 { return float64(p.Failed) }
