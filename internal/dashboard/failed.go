package dashboard

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"modulo/internal/operations"
	"modulo/jobs"
	"modulo/store"
)

// rowsPerPage is how many rows a page lists; there is always a way to the next ones.
const rowsPerPage = 50

// failedPage is the screen of a job's failed rows: grouped by cause, and one by one.
type failedPage struct {
	rights
	Action                  string // of the filter
	Filter                  store.FailureFilter
	Filtered                bool
	Classes, States, Sinces []choice
	All                     string

	Matching, Waiting    int
	RetryAll, DiscardAll string
	Groups               []groupLine
	GroupNote            string

	Rows        []rowLine
	RowNote     string
	Chosen      string // where the chosen rows lead
	First, Next string
}

// choice is an option of a filter.
type choice struct {
	Value, Name string
	Chosen      bool
}

// groupLine is failed rows of one cause.
type groupLine struct {
	operations.Group
	First, Last          template.HTML
	Show, Retry, Discard string
}

// rowLine is one failed row.
type rowLine struct {
	ID       int64
	Path     string
	State    mark
	Class    jobs.Class
	Reason   string
	Key      string
	Attempts int
	Last     template.HTML
}

// matches is what a filter picks.
type matches struct {
	groups operations.Groups
	rows   int // that a repair would change
}

// picked reads which rows an address means, and what that is now.
func (d *Dashboard) picked(r *http.Request, kept url.Values) (store.FailureFilter, snapshot[matches], error) {
	f, err := filterOf(r.PathValue("job"), kept)
	if err != nil {
		return f, snapshot[matches]{}, err
	}
	s := d.failures.get(r.Context(), f.Job+"?"+kept.Encode(), func(ctx context.Context) (m matches, err error) {
		if m.groups, err = d.Console.Groups(ctx, f); err != nil {
			return matches{}, err
		}
		m.rows, err = d.Console.CountRepair(ctx, f)
		return m, err
	})
	return f, s, s.Err
}

func (d *Dashboard) readFailed(r *http.Request) (frame, error) {
	job, query := r.PathValue("job"), r.URL.Query()
	kept := queryOf(query) // without the place in the list
	filter, m, err := d.picked(r, kept)
	if err != nil {
		return frame{}, err
	}
	page := failedPage{rights: rightsOf(r), Filter: filter, Filtered: len(kept) > 0, Matching: m.Value.rows}
	page.Action = d.render.path("/jobs/", job) + "/failed"
	page.All, page.RetryAll, page.DiscardAll = page.Action, address(page.Action+"/retry", absolute(kept)), address(page.Action+"/discard", absolute(kept))
	page.choices(query)
	page.addGroups(m.Value.groups, kept)
	if !streams(r) {
		err = d.addRows(r, &page, filter, kept)
	}
	return frame{Title: "Failed rows of " + job, Job: job, Tab: "Failed rows", Command: rowsCommand("list", job, kept), Page: page}, err
}

func (p *failedPage) choices(query url.Values) {
	choose := func(name string, options ...choice) []choice {
		for i := range options {
			options[i].Chosen = options[i].Value == query.Get(name)
		}
		return options
	}
	for _, class := range jobs.Classes() {
		p.Classes = append(p.Classes, choice{Value: string(class), Name: string(class)})
	}
	p.Classes = choose("class", p.Classes...)
	p.States = choose("state", choice{Value: string(store.StateFailed), Name: "waits for a person"},
		choice{Value: string(store.StateRetrying), Name: "tried again by itself"}, choice{Value: string(store.StateDiscarded), Name: "being discarded"})
	p.Sinces = choose("since", choice{Value: "15m", Name: "15 minutes"}, choice{Value: "1h", Name: "an hour"},
		choice{Value: "24h", Name: "a day"}, choice{Value: "168h", Name: "a week"})
}

func (p *failedPage) addGroups(groups operations.Groups, kept url.Values) {
	now := time.Now()
	for _, g := range groups.Groups {
		query := absolute(kept)
		query.Set("class", string(g.Class))
		query.Set("pattern", g.Pattern)
		p.Waiting += g.Failed
		p.Groups = append(p.Groups, groupLine{
			Group: g, First: moment(now, g.FirstAt), Last: moment(now, g.LastAt),
			Show: address(p.Action, query), Retry: address(p.Action+"/retry", query), Discard: address(p.Action+"/discard", query),
		})
	}
	p.GroupNote = "the same class, and the same reason but for the numbers in it"
	if groups.Others > 0 {
		p.GroupNote = fmt.Sprintf("the %d largest; %s not listed: filter to see them", len(groups.Groups), plural(groups.Others, "more is", "more are"))
	}
	if !groups.Complete {
		p.GroupNote += "; of so many rows only those with the lowest ids are grouped, but “all” means all"
	}
}

func (d *Dashboard) addRows(r *http.Request, page *failedPage, filter store.FailureFilter, kept url.Values) error {
	filter.Limit = rowsPerPage
	if text := r.URL.Query().Get("after"); text != "" {
		after, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return &formError{"The place in the list is not a number."}
		}
		filter.After, page.First = &after, address(page.Action, kept)
	}
	list, err := d.Console.Failures(r.Context(), filter)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, row := range list.Rows {
		line := rowLine{
			ID: row.RowID, Path: d.render.path("/jobs/", filter.Job, "/rows/", strconv.FormatInt(row.RowID, 10)), State: failureMark(row.State),
			Class: row.Class, Reason: row.Error, Attempts: row.Attempts, Last: moment(now, row.LastAt),
		}
		if row.Key != nil {
			line.Key = *row.Key
		}
		page.Rows = append(page.Rows, line)
	}
	if n := len(page.Rows); n > 0 {
		page.RowNote = fmt.Sprintf("rows %d to %d, by id", page.Rows[0].ID, page.Rows[n-1].ID)
	}
	if list.Next != nil {
		next := queryOf(kept)
		next.Set("after", strconv.FormatInt(*list.Next, 10))
		page.Next = address(page.Action, next)
	}
	page.Chosen = page.Action + "/chosen"
	return nil
}

func failureMark(state store.FailureState) mark {
	switch state {
	case store.StateFailed:
		return markOf(warn, "waits for a person")
	case store.StateRetrying:
		return markOf(busy, "tried again")
	}
	return markOf(quiet, "being discarded")
}

// filterFields are the parts of an address, or a form, that pick failed rows.
var filterFields = []string{"class", "state", "since", "until", "text", "key", "pattern", "id"}

// queryOf keeps what picks rows. An id that is empty stays, and is refused: without it all rows would be meant.
func queryOf(from url.Values) url.Values {
	kept := url.Values{}
	for _, name := range filterFields {
		for _, value := range from[name] {
			if value != "" || name == "id" {
				kept.Add(name, value)
			}
		}
	}
	return kept
}

// absolute says when instead of how long ago, so that a repair means the rows that were looked at.
func absolute(query url.Values) url.Values {
	query = queryOf(query)
	if within, err := time.ParseDuration(query.Get("since")); err == nil {
		query.Set("since", time.Now().Add(-within).UTC().Format(time.RFC3339))
	}
	return query
}

func address(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// filterOf reads which rows are meant.
func filterOf(job string, from url.Values) (store.FailureFilter, error) {
	text := func(field string) string { return strings.ReplaceAll(from.Get(field), "\r\n", "\n") } // browsers send forms so
	f := store.FailureFilter{
		Job: job, Class: jobs.Class(from.Get("class")), State: store.FailureState(from.Get("state")),
		Contains: text("text"), Key: text("key"), Pattern: text("pattern"),
	}
	var err error
	if f.Since, err = timeOf(from.Get("since")); err != nil {
		return f, err
	}
	if f.Until, err = timeOf(from.Get("until")); err != nil {
		return f, err
	}
	for _, text := range from["id"] {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return f, &formError{"The number of a row is not a number."}
		}
		f.IDs = append(f.IDs, id)
	}
	return f, nil
}

// timeOf reads a time, or how long ago it was.
func timeOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, &formError{"A time is neither a duration, as in 1h, nor a time, as in 2026-01-02T15:04:05Z."}
	}
	return at, nil
}
