package traces

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"time"

	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"modulo/jobs"
)

// spans makes the spans of a batch: one over all, and one below it for each step. Names and attributes are those of the
// semantic conventions for messaging and databases where there are any. No text of an error is in them, and nothing of a row but
// its trace context.
func spans(w jobs.WorkerID, trace *jobs.BatchTrace) []*tracepb.Span {
	traceID := append(random(), random()...)
	whole := &tracepb.Span{
		TraceId: traceID, SpanId: random(), Name: "batch " + w.Job, Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		Attributes: []*commonpb.KeyValue{text("modulo.job", w.Job), number("modulo.worker", w.Number), number("modulo.rows", trace.Rows)},
	}
	list := []*tracepb.Span{whole}
	began, ended := trace.Spans[0].Began, trace.Spans[0].Ended
	for i := range trace.Spans {
		step := &trace.Spans[i]
		s := span(w, step)
		s.TraceId, s.SpanId, s.ParentSpanId = traceID, random(), whole.SpanId
		s.StartTimeUnixNano, s.EndTimeUnixNano = nanoseconds(step.Began), nanoseconds(step.Ended)
		list = append(list, s)
		if step.Began.Before(began) {
			began = step.Began
		}
		if step.Ended.After(ended) {
			ended = step.Ended
		}
		if step.Err != nil {
			whole.Status = s.Status
		}
	}
	whole.StartTimeUnixNano, whole.EndTimeUnixNano = nanoseconds(began), nanoseconds(ended)
	return list
}

// span is that of a step, without ids and times.
func span(w jobs.WorkerID, step *jobs.Span) *tracepb.Span {
	s := &tracepb.Span{Kind: tracepb.Span_SPAN_KIND_CLIENT}
	switch step.Step {
	case jobs.StepFetch:
		s.Name = "fetch " + w.Job
		s.Attributes = []*commonpb.KeyValue{text("db.system.name", "postgresql"), number("db.response.returned_rows", step.Rows)}
	case jobs.StepMark:
		s.Name = "mark " + w.Job
		s.Attributes = []*commonpb.KeyValue{text("db.system.name", "postgresql"), number("modulo.rows", step.Rows)}
	case jobs.StepPublish:
		s.Name = "send " + w.Job
		s.Attributes = []*commonpb.KeyValue{
			text("messaging.system", "activemq"), text("messaging.operation.name", "send"), text("messaging.operation.type", "send"),
			number("messaging.batch.message_count", step.Rows),
		}
		if step.Destination != "" {
			s.Attributes = append(s.Attributes, text("messaging.destination.name", step.Destination))
		}
		link(s, step)
	}
	if step.Err != nil {
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
		s.Attributes = append(s.Attributes, text("error.type", kind(step.Err)))
	}
	return s
}

// link points to the traces of the rows; contexts that are none are left out.
func link(s *tracepb.Span, step *jobs.Span) {
	s.DroppedLinksCount = uint32(step.Unlinked)
	for _, context := range step.Links {
		traceID, spanID, flags, ok := parse(context.Parent)
		if !ok {
			continue
		}
		s.Links = append(s.Links, &tracepb.Span_Link{TraceId: traceID, SpanId: spanID, TraceState: context.State, Flags: flags})
	}
}

// parse reads a traceparent, as in "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" (W3C Trace Context, section 3.2).
// Later versions may have more at the end.
func parse(parent string) (traceID, spanID []byte, flags uint32, ok bool) {
	const length = 55
	if len(parent) < length || parent[2] != '-' || parent[35] != '-' || parent[52] != '-' || parent[:2] == "ff" ||
		len(parent) > length && (parent[:2] == "00" || parent[length] != '-') {
		return nil, nil, 0, false
	}
	version, err1 := lowerHex(parent[:2])
	traceID, err2 := lowerHex(parent[3:35])
	spanID, err3 := lowerHex(parent[36:52])
	flag, err4 := lowerHex(parent[53:55])
	if err := errors.Join(err1, err2, err3, err4); err != nil || version == nil || zero(traceID) || zero(spanID) {
		return nil, nil, 0, false
	}
	return traceID, spanID, uint32(flag[0]), true
}

func lowerHex(text string) ([]byte, error) {
	for i := range len(text) {
		if 'A' <= text[i] && text[i] <= 'F' {
			return nil, hex.InvalidByteError(text[i])
		}
	}
	return hex.DecodeString(text)
}

func zero(id []byte) bool {
	for _, b := range id {
		if b != 0 {
			return false
		}
	}
	return true
}

// kind says in a word what went wrong.
func kind(err error) string {
	if failed, ok := errors.AsType[*jobs.PublishError](err); ok {
		return failed.Fault.String()
	}
	if errors.Is(err, jobs.ErrFenced) {
		return "fenced"
	}
	return "_OTHER" // as the conventions have it
}

// random is an id of eight bytes, not all of them zero.
func random() []byte { return binary.BigEndian.AppendUint64(nil, 1+rand.Uint64N(1<<63)) }

func nanoseconds(t time.Time) uint64 { return uint64(t.UnixNano()) }

func text(name, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func number(name string, value int) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(value)}}}
}
