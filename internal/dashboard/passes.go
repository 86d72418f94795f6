package dashboard

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"modulo/internal/operations"
	"modulo/store"
)

// passesPage is the screen of a job's passes.
type passesPage struct {
	rights
	Schedule string
	Next     []pointInTime
	Passes   []passLine
	Past     []pastLine
	Filters  []link
	Older    string
}

// pointInTime is when a pass will begin.
type pointInTime struct {
	In template.HTML
	At string
}

// passLine is the last pass of a worker.
type passLine struct {
	Number       int
	Ended        template.HTML
	Took         string
	Done, Failed int
	State        mark
	Problem      string
	Path         string // of its history
}

// pastLine is an entry of the history.
type pastLine struct {
	Began                        template.HTML
	Worker                       string
	Passes                       int
	Took                         string
	Sent, Done, Failed, Repeated int
	State                        mark
	Problem, Instance            string
}

// pastPerPage is how many entries of the history a page lists, and pastOfJob how many the page of a job does.
const (
	pastPerPage = 50
	pastOfJob   = 5
)

// passesAhead is how many passes to come are listed.
const passesAhead = 5

func (d *Dashboard) readPasses(r *http.Request) (frame, error) {
	j, _, err := d.job(r)
	if err != nil {
		return frame{}, err
	}
	filter, query, err := pastFilterOf(r)
	if err != nil {
		return frame{}, err
	}
	past := d.readPast(r.Context(), filter, query.Encode())
	s := d.passes.get(r.Context(), j.Job, func(ctx context.Context) ([]operations.Pass, error) { return d.Console.Passes(ctx, j.Job) })
	if err := errors.Join(s.Err, past.Err); err != nil {
		return frame{}, err
	}
	at := d.render.path("/jobs/", j.Job) + "/passes"
	now, page := time.Now(), passesPage{rights: rightsOf(r), Schedule: j.Schedule, Next: d.ahead(j), Past: pastLines(past.Value.Passes)}
	for _, p := range s.Value {
		line := passLine{
			Number: p.Worker, Ended: moment(now, p.EndedAt), Took: span(time.Duration(p.TookMS) * time.Millisecond), Done: p.Done, Failed: p.Failed,
			State: markOf(good, string(store.PassComplete)), Problem: p.Problem, Path: at + "?worker=" + strconv.Itoa(p.Worker),
		}
		if p.Problem != "" {
			line.State = markOf(bad, string(store.PassEarly))
		}
		page.Passes = append(page.Passes, line)
	}
	page.filters(filter, at)
	if past.Value.Next != nil {
		query.Set("before", *past.Value.Next)
		page.Older = address(at, query)
	}
	return frame{Title: "Passes of " + j.Job, Job: j.Job, Tab: "Passes", Command: pastCommand(filter), Page: page}, nil
}

// pastFilterOf reads which part of the history is meant, and how an address says so without the place in the list.
func pastFilterOf(r *http.Request) (store.PassFilter, url.Values, error) {
	from, kept := r.URL.Query(), url.Values{}
	f := store.PassFilter{Job: r.PathValue("job"), Trouble: from.Get("only") == "trouble", Limit: pastPerPage}
	if text := from.Get("worker"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return f, nil, &formError{"The number of the worker is not a number."}
		}
		f.Worker = new(int(n))
		kept.Set("worker", text)
	}
	if f.Trouble {
		kept.Set("only", "trouble")
	}
	var err error
	if f.Before, err = operations.ParsePosition(from.Get("before")); err != nil {
		return f, nil, &formError{"The place in the list is none."}
	}
	return f, kept, nil
}

// filters lead to other parts of the history.
func (p *passesPage) filters(f store.PassFilter, at string) {
	p.Filters = []link{{"All", at, f.Worker == nil && !f.Trouble}, {"Only trouble", at + "?only=trouble", f.Worker == nil && f.Trouble}}
	if f.Worker != nil {
		p.Filters = append(p.Filters, link{"Worker " + strconv.Itoa(*f.Worker), at + "?worker=" + strconv.Itoa(*f.Worker), true})
	}
}

// pastCommand is the command that says the same.
func pastCommand(f store.PassFilter) string {
	command := "modulo passes " + shellQuoted(f.Job)
	if f.Worker != nil {
		command += " --worker=" + strconv.Itoa(*f.Worker)
	}
	if f.Trouble {
		command += " --trouble"
	}
	return command
}

func (d *Dashboard) readPast(ctx context.Context, f store.PassFilter, query string) snapshot[operations.PastPasses] {
	key := fmt.Sprint(f.Job, "?", query, "&", f.Limit)
	if f.Before != nil {
		key += fmt.Sprint("&", f.Before.BeganAt.UnixNano(), "&", f.Before.Number)
	}
	return d.pastPasses.get(ctx, key, func(ctx context.Context) (operations.PastPasses, error) { return d.Console.PastPasses(ctx, f) })
}

func pastLines(list []operations.PastPass) []pastLine {
	now := time.Now()
	levels := map[store.PassResult]level{store.PassComplete: good, store.PassEarly: bad, store.PassMissed: warn}
	var lines []pastLine
	for _, p := range list {
		line := pastLine{
			Began: moment(now, p.BeganAt), Worker: "none", Passes: p.Passes, Took: span(time.Duration(p.TookMS) * time.Millisecond),
			Sent: p.Sent, Done: p.Done, Failed: p.Failed, Repeated: p.Repeated, State: markOf(levels[p.Result], string(p.Result)),
			Problem: p.Problem, Instance: p.Instance,
		}
		if p.Worker != nil {
			line.Worker = strconv.Itoa(*p.Worker)
		}
		lines = append(lines, line)
	}
	return lines
}

// ahead lists the passes to come of a job that runs by cron; one that runs at intervals says all by its schedule.
func (d *Dashboard) ahead(j operations.Job) []pointInTime {
	definition := d.Console.Definition(j.Job)
	if definition == nil || j.ByInterval || j.Paused {
		return nil
	}
	var points []pointInTime
	now := time.Now()
	for at := now; len(points) < passesAhead; {
		next, ok := definition.Schedule.Next(at)
		if !ok {
			break
		}
		points, at = append(points, pointInTime{moment(now, next), exact(next)}), next
	}
	return points
}
