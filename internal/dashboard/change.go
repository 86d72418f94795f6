package dashboard

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	"modulo/internal/operations"
)

// previewPage shows what another K would mean, before it is asked for.
type previewPage struct {
	rights
	Job           string
	From, To      int
	Generation    int64
	Before, After shares
	Expect        string
	Refusal       string
	Possible      bool
}

// shares are the pending rows of each worker; those of many workers are summed up.
type shares struct {
	Shares []share
	Note   string
}

type share struct {
	Name, Rows string
	Bar        template.HTML
}

// maxShares is how many workers are listed one by one.
const maxShares = 24

func (d *Dashboard) readPreview(r *http.Request) (frame, error) {
	j, o, err := d.job(r)
	if err != nil {
		return frame{}, err
	}
	if o.Err != nil {
		return frame{}, o.Err
	}
	to := j.Workers
	if text := r.URL.Query().Get("to"); text != "" {
		if to, err = strconv.Atoi(text); err != nil {
			return frame{}, &formError{"The number of workers is not a number."}
		}
	}
	key := url.QueryEscape(j.Job) + "/" + strconv.Itoa(to)
	p := d.previews.get(r.Context(), key, func(ctx context.Context) (operations.Preview, error) { return d.Console.Preview(ctx, j.Job, to) })
	if p.Err != nil {
		return frame{}, p.Err
	}
	page := previewPage{
		rights: rightsOf(r), Job: j.Job, From: j.Workers, To: to, Generation: p.Value.Generation,
		Before: sharesNow(j), After: sharesOf(p.Value.Rows, p.Value.Backlog, p.Value.Complete, p.Value.Skew),
		Expect: "The workers in force finish their batches and let go; when the last one has, the new ones begin: a pause of about one batch and a second. Nothing is lost, nothing is sent twice.",
	}
	switch {
	case page.ReadOnly:
		page.Refusal = "This dashboard is read-only."
	case j.Generation == 0:
		page.Refusal = j.Job + " has never run: there is nothing to change yet."
	case j.ChangingTo != 0 && j.ChangingTo != to:
		page.Refusal = fmt.Sprintf("It is being changed to %s already. Take that back first, or wait.", plural(j.ChangingTo, "worker", "workers"))
	case to == j.Workers:
		page.Refusal = fmt.Sprintf("%s in force already: choose another number.", verb(to, "1 worker is", count(to)+" workers are"))
	default:
		page.Possible = true
	}
	return frame{
		Title: "Change the workers of " + j.Job, Job: j.Job, Tab: "Workers",
		Command: fmt.Sprintf("modulo workers set %s %d --wait", j.Job, to), Page: page,
	}, nil
}

func sharesNow(j operations.Job) shares {
	rows := make([]int, len(j.PerWorker))
	skew := 0.0
	for i, w := range j.PerWorker {
		rows[i], skew = w.Backlog, max(skew, w.Skew)
	}
	return sharesOf(rows, j.Backlog, j.BacklogComplete, skew)
}

func sharesOf(rows []int, sum int, complete bool, skew float64) shares {
	most := 1
	for _, n := range rows {
		most = max(most, n)
	}
	var s shares
	for w, n := range rows[:min(len(rows), maxShares)] {
		s.Shares = append(s.Shares, share{strconv.Itoa(w), count(n), barOf(float64(n)/float64(most), "")})
	}
	switch {
	case sum == 0:
		s.Note = "No row is pending: there is nothing to share."
	case skew >= 1.5:
		s.Note = fmt.Sprintf("The fullest worker has %.1f times the mean.", skew)
	default:
		s.Note = "The rows are shared evenly."
	}
	if !complete {
		s.Note += fmt.Sprintf(" Counted: the oldest %s.", count(sum))
	}
	if more := len(rows) - maxShares; more > 0 {
		s.Note += fmt.Sprintf(" %s more are not listed.", count(more))
	}
	return s
}
