package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxKnownDestinations bounds the memory of a Builder for destinations that passed the check before.
const maxKnownDestinations = 10_000

// Builder turns rows into messages and refuses what cannot be sent. Not safe for concurrent use.
type Builder struct {
	maxBody      int
	eventID      boundTemplate
	destination  boundTemplate
	allow        []destinationPattern
	headers      []boundHeader
	headersField int               // index of MessageSpec.HeadersColumn in Row.Fields; -1: none
	known        map[string]string // destinations that passed the check

	job, worker, epoch []byte // values of our own headers

	arena    []byte    // values of the messages built last
	slab     []Header  // headers of the messages built last
	messages []Message // the messages built last
}

type boundHeader struct {
	name  string
	value boundTemplate
}

// NewBuilder checks the message part of a job's definition and returns a builder for one of its workers.
func NewBuilder(job *Job, shard Shard) (*Builder, error) {
	spec, fields := job.Message, job.Message.Fields()
	b := &Builder{
		maxBody:      spec.MaxBody,
		headersField: slices.Index(fields, spec.HeadersColumn),
		known:        map[string]string{},
		job:          []byte(job.Name),
		worker:       fmt.Appendf(nil, "%d/%d", shard.Number, shard.Of),
		epoch:        strconv.AppendInt(nil, shard.Epoch, 10),
	}
	var problems []error
	bind := func(what, text string) boundTemplate {
		t, err := parseTemplate(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
			return boundTemplate{}
		}
		return t.bind(fields)
	}
	if spec.EventID == "" {
		problems = append(problems, errors.New("event_id: must not be empty"))
	}
	b.eventID = bind(fmt.Sprintf("event_id %q", spec.EventID), spec.EventID)
	b.destination = bind(fmt.Sprintf("destination %q", spec.Destination), spec.Destination)
	for _, text := range spec.Allow {
		pattern, err := parseDestinationPattern(text, job.Message.Reserved)
		problems = append(problems, err)
		b.allow = append(b.allow, pattern)
	}
	for i, h := range spec.Headers {
		problems = append(problems, checkHeaderName(h.Name))
		if slices.ContainsFunc(spec.Headers[:i], func(other HeaderSpec) bool { return other.Name == h.Name }) {
			problems = append(problems, fmt.Errorf("header %q appears twice", h.Name))
		}
		b.headers = append(b.headers, boundHeader{h.Name, bind("header "+h.Name, h.Template)})
	}
	if n := len(spec.Headers) + len(ownHeaders); n > maxHeaders {
		problems = append(problems, fmt.Errorf("headers: %d with those of Modulo, the limit is %d", n, maxHeaders))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if text, ok := b.destination.constant(); ok && !b.allowed(text) {
		return nil, fmt.Errorf("destination %q is not one that the job allows; name it under allow if it is meant", text)
	}
	return b, nil
}

// oneDestination says that all rows go to the same destination.
func (b *Builder) oneDestination() bool {
	_, constant := b.destination.constant()
	return constant
}

// Fields are the columns a row must bring besides id, key and payload: those of the templates in order of their
// first appearance, the headers column last. Templates that do not parse name none.
func (s MessageSpec) Fields() []string {
	var fields []string
	texts := []string{s.Destination, s.EventID}
	for _, h := range s.Headers {
		texts = append(texts, h.Template)
	}
	for _, text := range texts {
		t, err := parseTemplate(text)
		if err != nil {
			continue
		}
		for _, column := range t.columns {
			if !slices.Contains(fields, column) {
				fields = append(fields, column)
			}
		}
	}
	if s.HeadersColumn != "" && !slices.Contains(fields, s.HeadersColumn) {
		fields = append(fields, s.HeadersColumn)
	}
	return fields
}

// invalid says why a row cannot become a message.
type invalid struct {
	class  Class
	reason string
}

func invalidf(class Class, format string, args ...any) *invalid {
	return &invalid{class, fmt.Sprintf(format, args...)}
}

// Build returns the messages of the rows that can be sent and a failure for each of the others, both in row order.
// The messages are valid until the next call. Rows that only need their mark must not be among them.
func (b *Builder) Build(batch Batch) ([]Message, []Failure) {
	var failures []Failure
	b.arena, b.slab, b.messages = b.arena[:0], b.slab[:0], b.messages[:0]
	for i := range batch.Rows {
		row := &batch.Rows[i]
		m := Message{RowID: row.ID, Key: row.Key, Body: row.Payload, Binary: batch.Binary, InsertedAt: row.InsertedAt}
		if bad := b.fill(&m, row); bad != nil {
			failures = append(failures, Failure{
				RowID: row.ID, Key: row.Key, EventID: string(m.EventID), Attempts: row.Attempts + 1,
				Class: bad.class, Reason: bad.reason,
			})
			continue
		}
		b.messages = append(b.messages, m)
	}
	return b.messages, failures
}

func (b *Builder) fill(m *Message, row *Row) *invalid {
	var bad *invalid
	if m.EventID, bad = b.value("event_id", b.eventID, row); bad != nil {
		return bad
	}
	if len(m.EventID) == 0 {
		return invalidf(ClassInvalid, "header event_id: empty")
	}
	if m.Destination, bad = b.route(row); bad != nil {
		return bad
	}
	if bad = b.checkBody(m); bad != nil {
		return bad
	}
	start := len(b.slab)
	if bad = b.appendHeaders(m, row); bad != nil {
		b.slab = b.slab[:start]
		return bad
	}
	m.Headers = b.slab[start:len(b.slab):len(b.slab)]
	return nil
}

// value expands the template of a header; its columns must not be null.
func (b *Builder) value(name string, t boundTemplate, row *Row) ([]byte, *invalid) {
	var value []byte
	var null string
	b.arena, value, null = t.expand(b.arena, row.Fields)
	if null != "" {
		return nil, invalidf(ClassInvalid, "header %s: column %s is null", name, null)
	}
	return value, checkHeaderValue(name, value)
}

func (b *Builder) route(row *Row) (string, *invalid) {
	if text, ok := b.destination.constant(); ok {
		return text, nil
	}
	value, bad := b.value("destination", b.destination, row)
	if bad != nil {
		return "", bad
	}
	if known, ok := b.known[string(value)]; ok {
		return known, nil
	}
	destination := string(value)
	if !b.allowed(destination) {
		return "", invalidf(ClassNotAllowed, "destination %.250q is not one that the job allows", destination)
	}
	if len(b.known) < maxKnownDestinations {
		b.known[destination] = destination
	}
	return destination, nil
}

func (b *Builder) allowed(destination string) bool {
	return slices.ContainsFunc(b.allow, func(p destinationPattern) bool { return p.matches(destination) })
}

func (b *Builder) checkBody(m *Message) *invalid {
	switch {
	case m.Body == nil:
		return invalidf(ClassInvalid, "payload: null")
	case len(m.Body) > b.maxBody:
		return invalidf(ClassTooLarge, "payload: %d bytes, the limit is %d", len(m.Body), b.maxBody)
	case m.Binary:
		return nil
	case bytes.IndexByte(m.Body, 0) >= 0:
		return invalidf(ClassInvalid, "payload: NUL in text; only a bytea payload can hold one")
	case !utf8.Valid(m.Body):
		return invalidf(ClassInvalid, "payload: text is not UTF-8")
	}
	return nil
}

// appendHeaders appends the row's headers to the slab: our own, those of the configuration, those of the row.
func (b *Builder) appendHeaders(m *Message, row *Row) *invalid {
	start := len(b.slab)
	number := len(b.arena)
	b.arena = strconv.AppendInt(b.arena, row.ID, 10)
	b.slab = append(b.slab,
		Header{"event_id", m.EventID},
		Header{"job", b.job},
		Header{"row_id", b.arena[number:len(b.arena):len(b.arena)]},
		Header{"worker", b.worker},
		Header{"epoch", b.epoch},
	)
	for _, h := range b.headers {
		if h.value.single() && row.Fields[h.value.fields[0]] == nil {
			continue
		}
		value, bad := b.value(h.name, h.value, row)
		if bad != nil {
			return bad
		}
		if h.name == "reply-to" && !b.allowed(string(value)) {
			return invalidf(ClassNotAllowed, "header reply-to: %.250q is not a destination that the job allows", value)
		}
		b.slab = append(b.slab, Header{h.name, value})
	}
	if b.headersField < 0 || row.Fields[b.headersField] == nil {
		return nil
	}
	return b.appendRowHeaders(start, row.Fields[b.headersField])
}

// appendRowHeaders appends the headers of a JSON object of strings.
func (b *Builder) appendRowHeaders(start int, object []byte) *invalid {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return invalidf(ClassInvalid, "headers: not a JSON object of strings")
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return invalidf(ClassInvalid, "headers: %v", err)
		}
		value, err := decoder.Token()
		text, isText := value.(string)
		if err != nil || !isText {
			return invalidf(ClassInvalid, "headers: the value of %.100q is not a string", name)
		}
		if bad := b.appendRowHeader(start, name.(string), text); bad != nil {
			return bad
		}
	}
	if _, err := decoder.Token(); err != nil {
		return invalidf(ClassInvalid, "headers: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return invalidf(ClassInvalid, "headers: more than a JSON object")
	}
	return nil
}

func (b *Builder) appendRowHeader(start int, name, value string) *invalid {
	if err := checkHeaderName(name); err != nil {
		return &invalid{ClassInvalid, err.Error()}
	}
	if name == "reply-to" {
		return invalidf(ClassNotAllowed, `header "reply-to" can only come from the configuration`)
	}
	if slices.ContainsFunc(b.slab[start:], func(h Header) bool { return h.Name == name }) {
		return invalidf(ClassInvalid, "header %q appears twice", name)
	}
	if len(b.slab)-start >= maxHeaders {
		return invalidf(ClassTooLarge, "headers: more than %d", maxHeaders)
	}
	valueStart := len(b.arena)
	b.arena = append(b.arena, value...)
	header := Header{name, b.arena[valueStart:len(b.arena):len(b.arena)]}
	b.slab = append(b.slab, header)
	return checkHeaderValue(name, header.Value)
}
