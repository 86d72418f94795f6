package operations

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// MaxPage bounds what one call lists; there is always a way to the next page.
const MaxPage = 1000

func pageLimit(asked int) int {
	if asked <= 0 || asked > MaxPage {
		return MaxPage
	}
	return asked
}

// cutPage cuts a list that was read with one entry more than a page has, and returns the place to go on behind; nil: this
// is the last page.
func cutPage[T, P any](list []T, limit int, place func(T) P) ([]T, *P) {
	if len(list) <= limit {
		return list, nil
	}
	last := place(list[limit-1])
	return list[:limit], &last
}

// picked reads what a filter picks of a job that is known, when its turn has come.
func picked[V any](ctx context.Context, c *Console, f store.FailureFilter, read func(context.Context, store.FailureFilter) (V, error)) (V, error) {
	if err := c.CheckJob(ctx, f.Job); err != nil {
		var none V
		return none, err
	}
	return heavily(ctx, c, func() (V, error) { return read(ctx, f) })
}

// Failure is a failed row.
type Failure struct {
	Job         string             `json:"job"`
	RowID       int64              `json:"row_id"`
	Key         *string            `json:"key"`
	EventID     string             `json:"event_id"`
	State       store.FailureState `json:"state"`
	Class       jobs.Class         `json:"class"`
	Error       string             `json:"error"`
	Attempts    int                `json:"attempts"`
	Delivered   bool               `json:"delivered"`
	NextAttempt *time.Time         `json:"next_attempt_at"`
	FirstAt     time.Time          `json:"first_failed_at"`
	LastAt      time.Time          `json:"last_failed_at"`
}

func failureOf(r store.FailureRecord) Failure {
	f := Failure{
		Job: r.Job, RowID: r.RowID, Key: r.Key, EventID: r.EventID, State: r.State, Class: r.Class, Error: r.Error,
		Attempts: r.Attempts, Delivered: r.Delivered, FirstAt: r.CreatedAt, LastAt: r.UpdatedAt,
	}
	if r.State == store.StateRetrying {
		f.NextAttempt = &r.NextAttemptAt
	}
	return f
}

// Failures is a page of failed rows, in the order of row ids.
type Failures struct {
	Rows []Failure `json:"rows"`
	Next *int64    `json:"next"` // After of the next page; null: this is the last one
}

// Failures lists a page of the rows that the filter picks: at most its Limit, or MaxPage.
func (c *Console) Failures(ctx context.Context, f store.FailureFilter) (Failures, error) {
	limit := pageLimit(f.Limit)
	f.Limit = limit + 1
	records, err := picked(ctx, c, f, c.DB.ListFailures)
	if err != nil {
		return Failures{}, err
	}
	page := Failures{Rows: []Failure{}}
	records, page.Next = cutPage(records, limit, func(r store.FailureRecord) int64 { return r.RowID })
	for _, r := range records {
		page.Rows = append(page.Rows, failureOf(r))
	}
	return page, nil
}

// Group is failed rows of one cause.
type Group struct {
	Class    jobs.Class `json:"class"`
	Pattern  string     `json:"pattern"` // the reason with "#" for numbers and UUIDs; picks the group as a filter
	Rows     int        `json:"rows"`
	Failed   int        `json:"failed"` // of these: wait for a person; the others are tried again or given up already
	FirstRow int64      `json:"first_row"`
	Sample   string     `json:"sample"` // the reason of that row
	FirstAt  time.Time  `json:"first_failed_at"`
	LastAt   time.Time  `json:"last_failed_at"`
}

// Groups are the largest groups, largest first.
type Groups struct {
	Groups   []Group `json:"groups"`
	Others   int     `json:"others"`   // groups that are not listed
	Complete bool    `json:"complete"` // false: later row ids are not counted
}

// Groups groups the rows that the filter picks by class and reason. It costs one walk over the records of the job; see
// store.GroupFailures for its bounds.
func (c *Console) Groups(ctx context.Context, f store.FailureFilter) (Groups, error) {
	found, err := picked(ctx, c, f, c.DB.GroupFailures)
	if err != nil {
		return Groups{}, err
	}
	groups := Groups{Groups: []Group{}, Others: found.Others, Complete: found.Complete}
	for _, g := range found.Groups {
		groups.Groups = append(groups.Groups, Group(g))
	}
	return groups, nil
}

// Count counts the rows that the filter picks.
func (c *Console) Count(ctx context.Context, f store.FailureFilter) (int, error) {
	return picked(ctx, c, f, c.DB.CountFailures)
}

// Row is all that is known of a row.
type Row struct {
	Failure *Failure     `json:"failure"` // null: it has not failed
	Pending bool         `json:"pending"` // it waits for being sent, or marked
	Message *Message     `json:"message"` // as it would be sent now; null: it would not, or its table is not known here
	Invalid string       `json:"invalid"` // why it cannot be sent as it is; empty: it can
	History []AuditEntry `json:"history"` // what people did about this row by its number, newest first
	// Perhaps are repairs of many rows since this one first failed, of the job's last 50 entries: it may have been among them.
	Perhaps []AuditEntry `json:"perhaps"`
}

// Message is a row's message as it would be sent.
type Message struct {
	Destination string   `json:"destination"`
	Headers     []Header `json:"headers"`
	Bytes       int      `json:"bytes"`  // of the body
	Binary      bool     `json:"binary"` // a BytesMessage; otherwise a TextMessage
	Body        *string  `json:"body"`   // null unless it was asked for; of a BytesMessage quoted as in Go
	Truncated   bool     `json:"truncated"`
}

// Header is a header of a Message.
type Header struct {
	Name  string  `json:"name"`
	Value *string `json:"value"` // null unless the body was asked for, as it may hold as much of the row, or it is event_id, job or row_id
}

// shownBody is how many bytes of a body are shown.
const shownBody = 64 << 10

// Row returns what is known of one row; store.ErrNoFailure where it neither failed nor is pending, and another error where
// it has not failed and its table is not known, so that nobody can say whether it is pending. The message comes without its body and
// the values of its headers, but those that say which row it is, unless payload says so.
func (c *Console) Row(ctx context.Context, job string, id int64, payload bool) (Row, error) {
	return heavily(ctx, c, func() (Row, error) { return c.row(ctx, job, id, payload) })
}

func (c *Console) row(ctx context.Context, job string, id int64, payload bool) (Row, error) {
	row := Row{History: []AuditEntry{}, Perhaps: []AuditEntry{}}
	if err := c.CheckJob(ctx, job); err != nil {
		return Row{}, err
	}
	record, err := c.DB.GetFailure(ctx, job, id)
	switch {
	case err == nil:
		failure := failureOf(record)
		row.Failure = &failure
	case !errors.Is(err, store.ErrNoFailure):
		return Row{}, err
	}
	unknown := err
	if err := c.addMessage(ctx, &row, job, id, payload); err != nil {
		return Row{}, err
	}
	if row.Failure == nil && !row.Pending {
		_, err := c.source(job)
		return Row{}, cmp.Or(err, unknown)
	}
	page, err := c.Audit(ctx, store.AuditFilter{Job: job, Target: store.RowTarget(id), Limit: 50})
	row.History = page.Entries
	if err != nil || row.Failure == nil {
		return row, err
	}
	return row, c.addPerhaps(ctx, &row)
}

// addPerhaps adds repairs by a filter. Which rows they took is written down nowhere; only of a list of ids it is known.
func (c *Console) addPerhaps(ctx context.Context, row *Row) error {
	page, err := c.Audit(ctx, store.AuditFilter{Job: row.Failure.Job, Limit: 50})
	for _, e := range page.Entries {
		if e.Affected > 0 && !e.At.Before(row.Failure.FirstAt) && store.MayRepair(e.Action, e.Target, row.Failure.RowID) {
			row.Perhaps = append(row.Perhaps, e)
		}
	}
	return err
}

// addMessage builds the message as a worker would.
func (c *Console) addMessage(ctx context.Context, row *Row, name string, id int64, payload bool) error {
	definition, source := c.jobs[name], c.Sources[name]
	if definition == nil || source == nil {
		return nil
	}
	control, err := c.control(ctx, name)
	if err != nil {
		return err
	}
	shard := jobs.Shard{Number: 0, Of: max(control.Workers, 1)}
	batch, err := source.Worker(shard).Pending(ctx, []int64{id})
	if err != nil || len(batch.Rows) == 0 {
		return err
	}
	row.Pending = true
	builder, err := jobs.NewBuilder(definition, shard)
	if err != nil {
		return err
	}
	messages, failures := builder.Build(batch)
	for _, f := range failures {
		row.Invalid = f.Reason
	}
	for i := range messages {
		row.Message = shown(&messages[i], payload)
	}
	return nil
}

var (
	// sentBy are the headers that say which worker sends: that is not known before.
	sentBy = map[string]bool{"worker": true, "epoch": true}
	// sentOf are those that say which row it is.
	sentOf = map[string]bool{"event_id": true, "job": true, "row_id": true}
)

// shown copies what may be seen: the message belongs to its builder.
func shown(m *jobs.Message, payload bool) *Message {
	s := &Message{Destination: m.Destination, Bytes: len(m.Body), Binary: m.Binary}
	for _, h := range m.Headers {
		if sentBy[h.Name] {
			continue
		}
		header := Header{Name: h.Name}
		if payload || sentOf[h.Name] {
			header.Value = new(string(h.Value))
		}
		s.Headers = append(s.Headers, header)
	}
	if !payload {
		return s
	}
	body := m.Body[:min(len(m.Body), shownBody)]
	s.Truncated = len(body) < len(m.Body)
	text := string(body)
	if m.Binary {
		text = strconv.Quote(text)
	}
	s.Body = &text
	return s
}
