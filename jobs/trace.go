package jobs

import "time"

// Tracer is told of batches when they are over, marked or given up, for distributed traces. What holds for an Observer
// holds for it, but that it may keep what it is given.
type Tracer interface {
	Batch(w WorkerID, trace *BatchTrace)
}

const (
	// maxLinks is how many trace contexts of its rows a span keeps.
	maxLinks = 128
	// maxSpans bounds the spans of a batch: one that the broker refuses is sent in ever smaller parts.
	maxSpans = 32
)

// BatchTrace is the way of one batch.
type BatchTrace struct {
	Rows  int    // as fetched; failed rows whose time has come have no fetch of their own
	Spans []Span // the first ones, in order: fetch, one for each time something was sent, mark
}

// Span is a step of a batch.
type Span struct {
	Step         Step // StepFetch, StepPublish or StepMark
	Began, Ended time.Time
	Rows         int
	Err          error
	// Destination is where all the messages of a StepPublish went; empty if they went to several.
	Destination string
	// Links are the trace contexts that the rows of a StepPublish brought along as headers; Unlinked counts those beyond
	// maxLinks.
	Links    []TraceContext
	Unlinked int
}

// TraceContext is that of a row, as in the W3C's recommendation; nobody has checked it.
type TraceContext struct{ Parent, State string }

// trace begins the trace of a batch; nil where nobody traces. All methods of a nil trace do nothing.
func (w *Worker) trace(rows int) *BatchTrace {
	if w.Tracer == nil {
		return nil
	}
	return &BatchTrace{Rows: rows}
}

// traced hands on a trace that is complete.
func (w *Worker) traced(t *BatchTrace) {
	if t != nil && len(t.Spans) > 0 {
		w.Tracer.Batch(w.id, t)
	}
}

func (t *BatchTrace) did(step Step, rows int, began time.Time, err error) {
	if t != nil && len(t.Spans) < maxSpans {
		t.Spans = append(t.Spans, Span{Step: step, Began: began, Ended: time.Now(), Rows: rows, Err: err})
	}
}

// sent copies what it needs of the messages.
func (t *BatchTrace) sent(messages []Message, began time.Time, err error) {
	if t == nil || len(t.Spans) >= maxSpans {
		return
	}
	t.did(StepPublish, len(messages), began, err)
	s := &t.Spans[len(t.Spans)-1]
	s.Destination = messages[0].Destination
	for i := range messages {
		if messages[i].Destination != messages[0].Destination {
			s.Destination = ""
		}
		context := traceContext(messages[i].Headers)
		switch {
		case context.Parent == "":
		case len(s.Links) < maxLinks:
			s.Links = append(s.Links, context)
		default:
			s.Unlinked++
		}
	}
}

func traceContext(headers []Header) (c TraceContext) {
	for i := range headers {
		switch headers[i].Name {
		case "traceparent":
			c.Parent = string(headers[i].Value)
		case "tracestate":
			c.State = string(headers[i].Value)
		}
	}
	return c
}
