package dashboard

import (
	"context"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"modulo/internal/operations"
	"modulo/store"
)

// auditPage is the screen of what people changed.
type auditPage struct {
	rights
	Entries []entryLine
	Older   string
}

// entryLine is one entry.
type entryLine struct {
	operations.AuditEntry
	When   template.HTML
	State  mark
	Detail string // why it was refused, or ended early
	Path   string // of its progress
}

// entriesPerPage is how many entries a page lists.
const entriesPerPage = 50

func (d *Dashboard) readAudit(r *http.Request) (frame, error) {
	filter := store.AuditFilter{Job: r.PathValue("job"), Limit: entriesPerPage} // of all jobs without one
	before := r.URL.Query().Get("before")
	if before != "" {
		var err error
		if filter.Before, err = strconv.ParseInt(before, 10, 64); err != nil {
			return frame{}, &formError{"The place in the list is not a number."}
		}
	}
	if filter.Job != "" {
		if err := d.Console.CheckJob(r.Context(), filter.Job); err != nil {
			return frame{}, err
		}
	}
	s := d.audits.get(r.Context(), filter.Job+"?"+before, func(ctx context.Context) (operations.Audit, error) { return d.Console.Audit(ctx, filter) })
	if s.Err != nil {
		return frame{}, s.Err
	}
	page := auditPage{rights: rightsOf(r), Entries: d.entryLines(s.Value.Entries)}
	if s.Value.Next != nil {
		page.Older = "?before=" + strconv.FormatInt(*s.Value.Next, 10)
	}
	f := frame{Title: "Audit", Section: "Audit", Command: "modulo audit", Page: page}
	if filter.Job != "" {
		f = frame{Title: "Audit of " + filter.Job, Job: filter.Job, Tab: "Audit", Command: "modulo audit " + filter.Job, Page: page}
	}
	return f, nil
}

func (d *Dashboard) entryLines(entries []operations.AuditEntry) []entryLine {
	now := time.Now()
	var lines []entryLine
	for _, e := range entries {
		result, why := e.Result.Apart()
		line := entryLine{AuditEntry: e, When: moment(now, e.At), State: resultMark(result), Detail: why}
		if e.Action.IsRepair() {
			line.Path = d.render.path("/jobs/", e.Job, "/operations/", strconv.FormatInt(e.ID, 10))
		}
		lines = append(lines, line)
	}
	return lines
}

func entryReader(c *operations.Console, id int64) func(context.Context) (operations.AuditEntry, error) {
	return func(ctx context.Context) (operations.AuditEntry, error) { return c.AuditEntry(ctx, id) }
}

// resultMark tells an entry's result, without its reason.
func resultMark(result store.Result) mark {
	levels := map[store.Result]level{
		store.ResultDone: good, store.ResultUnderWay: busy, store.ResultEarly: bad, store.ResultRefused: warn,
	}
	return markOf(levels[result], string(result))
}

// instancesPage is the screen of what runs.
type instancesPage struct {
	rights
	Instances []instanceLine
}

// instanceLine is one instance.
type instanceLine struct {
	ID, Host, Version string
	PID               int
	State             mark
	Owned             int
	Limit             string
	Jobs              []string
	Started           template.HTML
	Lease             string
}

func (d *Dashboard) readInstances(r *http.Request) (frame, error) {
	s := d.instances.get(r.Context(), "", d.Console.Instances)
	if s.Err != nil {
		return frame{}, s.Err
	}
	now, page := time.Now(), instancesPage{rights: rightsOf(r)}
	for _, i := range s.Value {
		line := instanceLine{
			ID: i.Instance, Host: i.Host, Version: i.Version, PID: i.PID, State: markOf(good, "running"), Owned: i.Owned,
			Jobs: i.Jobs, Started: moment(now, i.StartedAt), Lease: span(seconds(i.LeaseSeconds)),
		}
		switch {
		case i.LeaseSeconds <= 0:
			line.State, line.Lease = markOf(bad, "lease over"), "over"
		case i.Stopping:
			line.State = markOf(busy, "stopping")
		}
		if i.MaxWorkers != nil && !i.Stopping {
			line.Limit = count(*i.MaxWorkers)
		}
		page.Instances = append(page.Instances, line)
	}
	return frame{Title: "Instances", Section: "Instances", Command: "modulo instances", Page: page}, nil
}
