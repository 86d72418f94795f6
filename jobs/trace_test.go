package jobs

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// recorder keeps traces, as in "2 rows: fetch 2, send 2, mark 2".
type recorder struct {
	mu   sync.Mutex
	told []string
}

func (r *recorder) Batch(_ WorkerID, trace *BatchTrace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var spans []string
	for _, s := range trace.Spans {
		text := fmt.Sprintf("%s %d", map[Step]string{StepFetch: "fetch", StepPublish: "send", StepMark: "mark"}[s.Step], s.Rows)
		if s.Err != nil {
			text += " failed"
		}
		if s.Ended.Before(s.Began) || s.Began.IsZero() {
			text += " at no time"
		}
		spans = append(spans, text)
	}
	r.told = append(r.told, fmt.Sprintf("%d rows: %s", trace.Rows, strings.Join(spans, ", ")))
}

// A batch is told of with every step that was taken, also where a fault ends it or a row is refused.
func TestBatchesAreTraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name    string
			natures []nature
			faults  map[stage][]fault
			want    string
		}{
			{"three batches", goods(5), nil, "[2 rows: fetch 2, send 2, mark 2 2 rows: fetch 2, send 2, mark 2 1 rows: fetch 1, send 1, mark 1]"},
			{"nothing to do", nil, nil, "[]"},
			{"a refused row", []nature{good, refused}, nil, "[2 rows: fetch 2, send 2 failed, send 1, send 1 failed, mark 1]"},
			{"a lost connection", goods(1), map[stage][]fault{publishing: {none, fails}}, "[1 rows: fetch 1, send 1 failed]"},
			{"nothing that could be sent", []nature{invalid_}, nil, "[1 rows: fetch 1]"},
		} {
			w, traces := worldOf(2, c.natures...), &recorder{}
			w.faults = c.faults
			worker := w.worker(t, zerolog.Nop())
			worker.Tracer = traces
			_, _ = worker.Pass(t.Context()) // how it ends is told by the traces
			if got := fmt.Sprint(traces.told); got != c.want {
				t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
			}
		}
	})
}

// A span keeps the contexts of its messages, up to a limit, and their destination if it is the same.
func TestSpansLinkTheirRows(t *testing.T) {
	t.Parallel()
	w := &Worker{WorkerConfig: WorkerConfig{Tracer: &recorder{}}}
	messages := make([]Message, maxLinks+7)
	for i := range messages {
		messages[i] = Message{Destination: "/queue/a", Headers: []Header{
			{"type", []byte("x")}, {"traceparent", fmt.Appendf(nil, "parent %d", i)}, {"tracestate", []byte("state")},
		}}
	}
	messages[3].Headers = nil
	trace := w.trace(len(messages))
	trace.sent(messages, time.Now(), nil)
	s := trace.Spans[0]
	if len(s.Links) != maxLinks || s.Unlinked != 6 || s.Links[3] != (TraceContext{"parent 4", "state"}) || s.Destination != "/queue/a" {
		t.Errorf("%d links, %d unlinked, %q, %q", len(s.Links), s.Unlinked, s.Links[3], s.Destination)
	}
	messages[1].Destination = "/queue/b"
	for range 2 * maxSpans {
		trace.sent(messages[:2], time.Now(), errors.New("no answer"))
	}
	if len(trace.Spans) != maxSpans || trace.Spans[1].Destination != "" {
		t.Errorf("%d spans, destination %q", len(trace.Spans), trace.Spans[1].Destination)
	}
}

// Where nobody traces, tracing costs nothing.
func TestUntracedBatchesAllocateNothing(t *testing.T) {
	w, messages, began := &Worker{}, make([]Message, 10), time.Now()
	if n := testing.AllocsPerRun(100, func() {
		trace := w.trace(10)
		trace.did(StepFetch, 10, began, nil)
		trace.sent(messages, began, nil)
		trace.did(StepMark, 10, began, nil)
		w.traced(trace)
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}
