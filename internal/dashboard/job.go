package dashboard

import (
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"modulo/internal/operations"
	"modulo/store"
)

// jobPage is the screen of one job with its workers.
type jobPage struct {
	rights
	Line      jobLine
	Verdict   verdict
	Change    *change
	Instances string
	Eta       string
	Schedule  string // of one that runs by cron
	Delivered string
	Charts    []chart
	Skew      string
	Sharing   string
	Workers   []workerLine
	Past      []pastLine
	PastError string // why the passes cannot be read now
}

// chart is an hour of one number.
type chart struct {
	Name, Note string
	Spark      template.HTML
}

// workerLine is one worker.
type workerLine struct {
	Number          int
	State           mark
	Problem         string
	Owner           string
	Since           string
	Backlog, Oldest string
	Bar             template.HTML
	Rate            string
	Progress        template.HTML
	Lease           string
}

// change is a change of K that is under way.
type change struct {
	Title     string
	From      int64 // generation
	To        int   // workers
	Steps     []step
	Released  int
	Of        int
	Hint      string
	Abortable bool
}

// step is a part of a change: over, now or to come.
type step struct{ Class, Icon, Name, Text string }

// job is a job as in the overview.
func (d *Dashboard) job(r *http.Request) (operations.Job, snapshot[operations.Overview], error) {
	o := d.overview(r.Context())
	for _, j := range o.Value.Jobs {
		if j.Job == r.PathValue("job") {
			return j, o, nil
		}
	}
	return operations.Job{}, o, cmp.Or(o.Err, errNotFound)
}

func (d *Dashboard) readJob(r *http.Request) (frame, error) {
	j, o, err := d.job(r)
	if err != nil {
		return frame{}, err
	}
	now := time.Now()
	past := d.readPast(r.Context(), store.PassFilter{Job: j.Job, Limit: pastOfJob}, "")
	page := jobPage{
		rights: rightsOf(r), Line: d.line(j, now), Verdict: d.render.verdictOf([]operations.Job{j}, o, now), Change: changeOf(j, r.URL.Query().Get("changed")),
		Instances: plural(j.Instances, "instance runs it", "instances run it"), Eta: "nothing waits",
		Delivered: plural(j.Done, "row delivered so far", "rows delivered so far"), Skew: skewHint(j),
		Past: pastLines(past.Value.Passes),
	}
	if past.Err != nil {
		page.PastError = past.Err.Error()
	}
	if !j.ByInterval {
		page.Schedule = j.Schedule
	}
	if j.BacklogProblem != "" {
		page.Eta = "it cannot be counted"
	}
	if !j.Configured {
		page.Eta = "not configured here: look at an instance that runs it"
	}
	if j.Backlog > 0 {
		page.Eta = "counted " + span(now.Sub(j.CountedAt)) + " ago"
		if j.RowsPerSecond > 0 {
			page.Eta = lasts(j) + " at the present rate"
		}
	}
	page.Charts, page.Sharing = d.charts(j), d.sharing(j)
	most := 0
	for _, w := range j.PerWorker {
		most = max(most, w.Backlog)
	}
	for _, w := range j.PerWorker {
		page.Workers = append(page.Workers, workerLineOf(j, w, most, now))
	}
	return frame{Title: j.Job, Job: j.Job, Tab: "Workers", Command: "modulo workers list " + j.Job, Page: page}, nil
}

// sharing says which rows are whose.
func (d *Dashboard) sharing(j operations.Job) string {
	definition, by := d.Console.Definition(j.Job), "id"
	if definition == nil {
		return "its table is not known here"
	}
	if definition.Source.ShardBy != "" {
		by = "hash of " + definition.Source.ShardBy
	}
	return fmt.Sprintf("worker w sends the rows where %s %% %d = w", by, j.Workers)
}

func (d *Dashboard) charts(j operations.Job) []chart {
	whole := func(v float64) string { return count(int64(v)) }
	age := func(v float64) string { return span(seconds(v)) }
	list := []struct {
		name  string
		value func(operations.Point) float64
		say   func(float64) string
	}{
		{"Rows per second", rateOf, rate},
		{"Backlog", backlogOf, whole},
		{"Oldest pending row", oldestOf, age},
		{"Failed rows", failedOf, whole},
	}
	if !j.Configured { // what waits is not counted
		list = slices.Delete(list, 1, 3)
	}
	var charts []chart
	for _, c := range list {
		values := d.past(j.Job, c.value)
		charts = append(charts, chart{c.name, peakNote(values, c.say), spark("", c.name, values, c.say)})
	}
	return charts
}

// peakNote says how high a chart goes, and how much of the hour it shows.
func peakNote(values []float64, say func(float64) string) string {
	if len(values) == 0 {
		return "recording begins"
	}
	return "at most " + say(slices.Max(values)) + " in " + span(time.Duration(len(values))*operations.HistoryStep)
}

func workerLineOf(j operations.Job, w operations.Worker, most int, now time.Time) workerLine {
	line := workerLine{
		Number: w.Worker, State: workerMark(j, w, now), Problem: w.Problem, Backlog: count(w.Backlog), Rate: rate(w.RowsPerSecond),
		Oldest: ageOf(j.Aged, w.Backlog, w.OldestSeconds), Progress: momentOf(now, w.ProgressAt), Lease: "–",
	}
	if !j.Configured {
		line.Backlog, line.Oldest = "–", "–"
	}
	if w.LastPass != nil && line.Problem == "" {
		line.Problem = w.LastPass.Problem
	}
	if w.Instance != "" {
		line.Owner = fmt.Sprintf("%s pid %d", w.Host, w.PID)
		line.Since, line.Lease = "for "+span(seconds(w.OwnerSeconds)), span(seconds(w.LeaseSeconds))
	}
	class, share := "", 0.0
	if most > 0 {
		share = float64(w.Backlog) / float64(most)
	}
	if w.Skewed {
		class = "warn"
	}
	line.Bar = barOf(share, class)
	return line
}

func workerMark(j operations.Job, w operations.Worker, now time.Time) mark {
	switch {
	case w.Problem != "":
		return markOf(bad, "token trouble")
	case w.Instance == "" && j.ChangingTo != 0:
		return markOf(busy, "let go")
	case w.Instance == "":
		return markOf(warn, "no owner")
	case j.Paused:
		return mark{"warn", "pause", "paused"}
	case w.LastPass != nil && w.LastPass.Problem != "":
		return markOf(bad, "in trouble")
	case j.ByInterval && stands(w, j.Aged, now):
		return markOf(bad, "stalled")
	case w.Backlog == 0 && w.RowsPerSecond == 0:
		return markOf(quiet, "idle")
	}
	return markOf(good, "delivering")
}

// skewHint says that one worker has much more to do than the others.
func skewHint(j operations.Job) string {
	for _, w := range j.PerWorker {
		if w.Skewed {
			return fmt.Sprintf("Worker %d has %.1f times its share of the backlog. With shard_by: the rows of one key all go to one worker; more workers do not help a single busy key.", w.Worker, w.Skew)
		}
	}
	return ""
}

// changeOf tells how far a change of K is. Who has just asked for one, in the generation since, also sees its end.
func changeOf(j operations.Job, since string) *change {
	c := &change{From: j.Generation, To: j.ChangingTo, Released: j.Released, Of: j.Workers, Abortable: true}
	before, err := strconv.ParseInt(since, 10, 64)
	switch {
	case j.ChangingTo != 0:
		c.Title = fmt.Sprintf("Changing from %d to %s", j.Workers, plural(j.ChangingTo, "worker", "workers"))
		c.Hint = "Each worker finishes its batch, gets its receipts and marks, and lets go. With a dead instance among the owners this waits for its lease."
		c.Steps = []step{
			{"over", "ok", "Asked for", "all instances know"},
			{"now", "busy", "Finishing", fmt.Sprintf("%d of %d workers have let go", j.Released, j.Workers)},
			{"", "step", "In force", fmt.Sprintf("generation %d with %s begins", j.Generation+1, plural(j.ChangingTo, "worker", "workers"))},
		}
		return c
	case err == nil && j.Generation > before:
		c.Title, c.Of, c.Abortable = plural(j.Workers, "worker is", "workers are")+" in force", 0, false
		c.Steps = []step{
			{"over", "ok", "Asked for", "all instances knew"},
			{"over", "ok", "Finished", "every worker has let go"},
			{"over", "ok", "In force", fmt.Sprintf("generation %d; %d of %d workers have an owner", j.Generation, j.Owned, j.Workers)},
		}
		return c
	}
	return nil
}
