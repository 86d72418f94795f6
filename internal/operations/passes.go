package operations

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// Pass is the last pass of a worker.
type Pass struct {
	Job     string    `json:"job"`
	Worker  int       `json:"worker"`
	EndedAt time.Time `json:"ended_at"`
	TookMS  int64     `json:"took_ms"`
	Done    int       `json:"done"`
	Failed  int       `json:"failed"`
	Problem string    `json:"problem,omitempty"` // why it ended early
}

// Passes are the last passes of all workers of a job, of those that are known, the latest first in time.
func (c *Console) Passes(ctx context.Context, job string) ([]Pass, error) {
	if err := c.CheckJob(ctx, job); err != nil {
		return nil, err
	}
	list, err := c.DB.Progress(ctx, job)
	if err != nil {
		return nil, err
	}
	passes := []Pass{}
	for _, p := range list {
		w := Worker{}
		if w.progress(p); w.LastPass != nil {
			passes = append(passes, *w.LastPass)
		}
	}
	return passes, nil
}

// PastPass is an entry of the history of a job: passes that went alike.
type PastPass struct {
	Job      string           `json:"job"`
	Worker   *int             `json:"worker"`   // null: workers that had no owner
	Instance string           `json:"instance"` // host and process
	BeganAt  time.Time        `json:"began_at"`
	EndedAt  time.Time        `json:"ended_at"`
	Passes   int              `json:"passes"`  // of a job at intervals those of a minute share an entry
	TookMS   int64            `json:"took_ms"` // of the longest
	Sent     int              `json:"sent"`
	Done     int              `json:"done"`
	Failed   int              `json:"failed"`
	Repeated int              `json:"repeated"`
	Result   store.PassResult `json:"result"`
	Problem  string           `json:"problem,omitempty"` // why it is not complete
}

// PastPasses are a page of the history, newest first.
type PastPasses struct {
	Passes []PastPass `json:"passes"`
	Next   *string    `json:"next"` // Before of the next page; null: this is the last one
}

// PastPasses lists a page of what the passes of a job did that had rows, or did not work: at most the filter's Limit, or
// MaxPage. The last seconds may be missing.
func (c *Console) PastPasses(ctx context.Context, f store.PassFilter) (PastPasses, error) {
	if err := c.CheckJob(ctx, f.Job); err != nil {
		return PastPasses{}, err
	}
	if n := f.Worker; n != nil && (*n < store.NoWorker || *n >= jobs.MaxWorkers) {
		return PastPasses{}, &RangeError{"worker", *n, store.NoWorker, jobs.MaxWorkers - 1}
	}
	limit := pageLimit(f.Limit)
	f.Limit = limit + 1
	list, err := c.DB.Passes(ctx, f)
	if err != nil {
		return PastPasses{}, err
	}
	page := PastPasses{Passes: []PastPass{}}
	list, page.Next = cutPage(list, limit, func(p store.Pass) string {
		return p.BeganAt.UTC().Format(time.RFC3339Nano) + positionMark + strconv.Itoa(p.Number)
	})
	for _, p := range list {
		past := PastPass{
			p.Job, nil, p.Instance, p.BeganAt, p.EndedAt, p.Passes, p.Took.Milliseconds(), p.Sent, p.Done, p.Failed, p.Repeated,
			p.Result, p.Problem,
		}
		if p.Number != store.NoWorker {
			past.Worker = &p.Number
		}
		page.Passes = append(page.Passes, past)
	}
	return page, nil
}

// positionMark stands between the parts of a place in the history.
const positionMark = "_"

var errPosition = errors.New(`not a place in the history: it is "next" of the page before`)

// ParsePosition reads PastPasses.Next; nil where the text is empty.
func ParsePosition(text string) (*store.PassPosition, error) {
	if text == "" {
		return nil, nil
	}
	at, number, _ := strings.Cut(text, positionMark)
	began, wrong := time.Parse(time.RFC3339Nano, at)
	n, err := strconv.ParseInt(number, 10, 32)
	if wrong != nil || err != nil {
		return nil, errPosition
	}
	return &store.PassPosition{BeganAt: began, Number: int(n)}, nil
}
