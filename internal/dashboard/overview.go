package dashboard

import (
	"context"
	"html/template"
	"net/http"
	"time"

	"modulo/internal/operations"
)

// overviewPage is the screen of all jobs.
type overviewPage struct {
	rights
	Verdict verdict
	Jobs    []jobLine
}

// jobLine is a job at a glance.
type jobLine struct {
	Name             string
	State            mark
	Known, Paused    bool
	Switch           string // "pause" or "resume"
	Workers, Owned   int
	Backlog, Oldest  string
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
	page := overviewPage{rights: d.rights(r), Verdict: d.render.verdictOf(o.Value.Jobs, o, now)}
	for _, j := range o.Value.Jobs {
		page.Jobs = append(page.Jobs, d.line(j, now))
	}
	return frame{Title: page.Verdict.Word, Section: "Overview", Command: "modulo status", Page: page}, nil
}

func (d *Dashboard) line(j operations.Job, now time.Time) jobLine {
	line := jobLine{
		Name: j.Job, State: stateMark(j), Known: j.Generation > 0, Paused: j.Paused, Switch: "pause", Workers: j.Workers, Owned: j.Owned,
		Backlog: atLeast(j.Backlog, j.BacklogComplete), Oldest: ageOf(j.Aged, j.Backlog, j.OldestSeconds), Rate: rate(j.RowsPerSecond),
		Failed: j.Failed, Retrying: j.Retrying, LastPass: momentOf(now, j.PassAt), NextPass: nextPass(now, j),
		Spark: spark("inline", "Rows per second", d.past(j.Job, rateOf), rate),
	}
	if j.Paused {
		line.Switch = "resume"
	}
	return line
}

// stateMark tells a job's state by colour, shape and word.
func stateMark(j operations.Job) mark {
	levels := map[operations.State]level{
		operations.StateRunning: good, operations.StateChanging: busy, operations.StateStopped: bad,
		operations.StatePartly: warn, operations.StateToken: bad,
	}
	if j.State == operations.StatePaused {
		return mark{"warn", "pause", "paused"}
	}
	return markOf(levels[j.State], j.Text())
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
	if byInterval(j) {
		return template.HTML(template.HTMLEscapeString(j.Schedule))
	}
	return moment(now, *j.NextAt)
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
