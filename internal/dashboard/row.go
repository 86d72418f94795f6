package dashboard

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"modulo/internal/guard"
	"modulo/internal/operations"
	"modulo/jobs"
	"modulo/store"
)

// rowPage is the screen of one row.
type rowPage struct {
	rights
	ID             int64
	State          mark
	Record         *operations.Failure
	Key            string
	ClassMeaning   string
	First, Last    template.HTML
	NextAttempt    template.HTML
	Missing        string
	CanRepair      bool
	Retry, Discard string

	HasMessage     bool
	Unsendable     string
	Destination    string
	Headers        []operations.Header
	PayloadAllowed bool
	PayloadShown   bool
	PayloadSize    int
	PayloadCut     bool
	Payload        string
	ShowPayload    string
	History        []entryLine
	Perhaps        []entryLine
}

// classMeanings say what a class of failure means.
var classMeanings = map[jobs.Class]string{
	jobs.ClassInvalid:    "the row cannot become a message as it is",
	jobs.ClassTooLarge:   "the message is larger than the job allows",
	jobs.ClassNotAllowed: "the job does not allow this destination",
	jobs.ClassRefused:    "the broker refused this message",
	jobs.ClassUnmarkable: "the broker has it, but the database refused the done mark",
}

func (d *Dashboard) readRow(r *http.Request) (frame, error) {
	job := r.PathValue("job")
	id, err := strconv.ParseInt(r.PathValue("row"), 10, 64)
	if err != nil {
		return frame{}, errNotFound
	}
	allowed := guard.VisitorOf(r.Context()).Payloads
	payload := allowed && r.URL.Query().Get("payload") == "shown"
	key := fmt.Sprint(job, "/", id, "/", payload)
	s := d.rows.get(r.Context(), key, func(ctx context.Context) (operations.Row, error) { return d.Console.Row(ctx, job, id, payload) })
	if s.Err != nil {
		return frame{}, s.Err
	}
	row := s.Value
	at := d.render.path("/jobs/", job)
	page := rowPage{
		rights: rightsOf(r), ID: id, Record: row.Failure, Unsendable: row.Invalid, PayloadAllowed: allowed, PayloadShown: payload && row.Message != nil,
		ShowPayload: d.render.path("/jobs/", job, "/rows/", strconv.FormatInt(id, 10)) + "?payload=shown#payload", History: d.entryLines(row.History), Perhaps: d.entryLines(row.Perhaps),
		Retry: at + "/failed/retry?id=" + strconv.FormatInt(id, 10), Discard: at + "/failed/discard?id=" + strconv.FormatInt(id, 10),
	}
	page.addRecord(row.Failure, time.Now())
	page.addMessage(row)
	if row.Failure != nil && row.Invalid == row.Failure.Error {
		page.Unsendable = "It still cannot become a message, for the reason above."
	}
	return frame{Title: fmt.Sprintf("Row %d of %s", id, job), Job: job, Tab: "Failed rows", Command: fmt.Sprintf("modulo rows show %s %d", job, id), Page: page}, nil
}

func (p *rowPage) addRecord(f *operations.Failure, now time.Time) {
	if f == nil {
		p.State, p.Missing = markOf(good, "pending"), "It has not failed: it waits for its worker."
		return
	}
	p.State, p.ClassMeaning = failureMark(f.State), classMeanings[f.Class]
	p.First, p.Last = moment(now, f.FirstAt), moment(now, f.LastAt)
	p.CanRepair = !p.ReadOnly && f.State != store.StateDiscarded
	if f.Key != nil {
		p.Key = *f.Key
	}
	if f.NextAttempt != nil {
		p.NextAttempt = moment(now, *f.NextAttempt)
	}
}

func (p *rowPage) addMessage(row operations.Row) {
	m := row.Message
	if m == nil {
		if p.Unsendable == "" && !row.Pending {
			p.Unsendable = "The row is not pending in its table any more, or its table is not known here: there is nothing to send."
		}
		return
	}
	p.HasMessage, p.Destination, p.Headers, p.PayloadSize, p.PayloadCut = true, m.Destination, m.Headers, m.Bytes, m.Truncated
	if m.Body != nil {
		p.Payload = *m.Body
	}
}
