package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// outboxJob is the job of our own table, as the configuration makes it.
func outboxJob() *Job {
	job := validJob()
	job.Name = "outbox"
	job.Message = MessageSpec{
		Destination: "{destination}", Allow: []string{DefaultDestinations}, Payload: Payload{Column: "payload"},
		Headers:       []HeaderSpec{{"JMSXGroupID", "{key}"}, {"type", "{type}"}},
		HeadersColumn: "headers", EventID: "{event_id}", MaxBody: DefaultMaxBody,
	}
	return job
}

// rowOf is a row with the values of its job's fields; a field that is missing is null.
func rowOf(job *Job, id int64, payload string, values map[string]string) Row {
	row := Row{ID: id, Payload: []byte(payload)}
	for _, field := range job.Message.Fields() {
		if value, ok := values[field]; ok {
			row.Fields = append(row.Fields, []byte(value))
		} else {
			row.Fields = append(row.Fields, nil)
		}
	}
	return row
}

func newBuilder(t testing.TB, job *Job) *Builder {
	t.Helper()
	builder, err := NewBuilder(job, Shard{Number: 3, Of: 8, Epoch: 41})
	if err != nil {
		t.Fatal(err)
	}
	return builder
}

// headersOf writes headers as "name:value" lines.
func headersOf(m Message) string {
	var b strings.Builder
	for _, h := range m.Headers {
		fmt.Fprintf(&b, "%s:%s\n", h.Name, h.Value)
	}
	return b.String()
}

func TestBuildOutbox(t *testing.T) {
	t.Parallel()
	job := outboxJob()
	row := rowOf(job, -7, "{}", map[string]string{
		"destination": "/queue/a", "event_id": "e1", "type": "Paid", "headers": `{"tenant": "x:y\n", "correlation-id": ""}`,
	})
	row.Key = "k"
	messages, failures := newBuilder(t, job).Build(Batch{Rows: []Row{row}})
	if len(failures) > 0 {
		t.Fatal(failures)
	}
	m := messages[0]
	if m.RowID != -7 || m.Key != "k" || m.Destination != "/queue/a" || string(m.EventID) != "e1" || string(m.Body) != "{}" || m.Binary {
		t.Errorf("message %+v", m)
	}
	want := "event_id:e1\njob:outbox\nrow_id:-7\nworker:3/8\nepoch:41\ntype:Paid\ntenant:x:y\n\ncorrelation-id:\n"
	if got := headersOf(m); got != want { // key is null: no JMSXGroupID
		t.Errorf("headers\n%swant\n%s", got, want)
	}
}

func TestBuildOwnTable(t *testing.T) {
	t.Parallel()
	job := validJob()
	job.Message = MessageSpec{
		Destination: "/queue/{region}.invoice", Allow: []string{"/queue/*.invoice"}, Payload: Payload{Row: true},
		Headers: []HeaderSpec{
			{"reply-to", "/queue/{region}.invoice"}, {"type", "InvoiceApproved"}, {"note", "{note}"}, {"both", "{id}-{region}"},
		},
		EventID: "invoice-{id}", MaxBody: 3,
	}
	row := rowOf(job, 5, "\x00\xff", map[string]string{"region": "eu", "id": "5"})
	messages, failures := newBuilder(t, job).Build(Batch{Rows: []Row{row}, Binary: true})
	if len(failures) > 0 {
		t.Fatal(failures)
	}
	want := "event_id:invoice-5\njob:test\nrow_id:5\nworker:3/8\nepoch:41\n" +
		"reply-to:/queue/eu.invoice\ntype:InvoiceApproved\nboth:5-eu\n"
	if m := messages[0]; headersOf(m) != want || m.Destination != "/queue/eu.invoice" || !m.Binary || string(m.Body) != "\x00\xff" {
		t.Errorf("message %+v\nheaders\n%swant\n%s", m, headersOf(m), want)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	spec := MessageSpec{
		Destination: "/queue/{b}", EventID: "{a}-{b}", HeadersColumn: "h",
		Headers: []HeaderSpec{{"x", "{c}{a}"}, {"y", "{broken"}, {"z", "{h}"}},
	}
	if got := fmt.Sprint(spec.Fields()); got != "[b a c h]" {
		t.Error(got)
	}
	spec.Headers, spec.HeadersColumn = nil, ""
	if got := fmt.Sprint(spec.Fields()); got != "[b a]" {
		t.Error(got)
	}
}

func TestNewBuilderErrors(t *testing.T) {
	t.Parallel()
	headers := func(n int) (list []HeaderSpec) {
		for i := range n {
			list = append(list, HeaderSpec{fmt.Sprintf("h%d", i), "x"})
		}
		return list
	}
	for what, c := range map[string]struct {
		change func(*MessageSpec)
		want   []string // empty: no error
	}{
		"good":                {func(*MessageSpec) {}, nil},
		"no event id":         {func(s *MessageSpec) { s.EventID = "" }, []string{"event_id: must not be empty"}},
		"event id":            {func(s *MessageSpec) { s.EventID = "{" }, []string{"event_id", "position 1"}},
		"destination":         {func(s *MessageSpec) { s.Destination = "/queue/}" }, []string{"destination", "position 8"}},
		"no destination":      {func(s *MessageSpec) { s.Destination = "" }, []string{`destination ""`}},
		"topic":               {func(s *MessageSpec) { s.Destination = "/topic/a" }, []string{`"/topic/a"`, "allow"}},
		"topic, allowed":      {func(s *MessageSpec) { s.Destination, s.Allow = "/topic/a", []string{"/topic/a"} }, nil},
		"nothing allowed":     {func(s *MessageSpec) { s.Allow = nil }, []string{"allow"}},
		"pattern":             {func(s *MessageSpec) { s.Allow = []string{"/queue/*", ""} }, []string{`allowed destination ""`}},
		"header template":     {func(s *MessageSpec) { s.Headers = []HeaderSpec{{"x", "}"}} }, []string{"header x", "position 1"}},
		"header name":         {func(s *MessageSpec) { s.Headers = []HeaderSpec{{"x-y", "a"}} }, []string{`"x-y"`}},
		"header of ours":      {func(s *MessageSpec) { s.Headers = []HeaderSpec{{"job", "a"}} }, []string{`"job" is set by Modulo`}},
		"header twice":        {func(s *MessageSpec) { s.Headers = []HeaderSpec{{"x", "a"}, {"y", ""}, {"x", "b"}} }, []string{`"x" appears twice`}},
		"as many headers":     {func(s *MessageSpec) { s.Headers = headers(maxHeaders - 5) }, nil},
		"too many headers":    {func(s *MessageSpec) { s.Headers = headers(maxHeaders - 4) }, []string{"headers: 81", "80"}},
		"several things":      {func(s *MessageSpec) { s.EventID, s.Destination, s.Allow = "", "{", []string{"\n"} }, []string{"event_id", "destination", "allowed"}},
		"template, any queue": {func(s *MessageSpec) { s.Destination = "{anything}" }, nil},
	} {
		job := validJob()
		c.change(&job.Message)
		_, err := NewBuilder(job, Shard{Of: 1})
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", what, err)
		}
		for _, want := range c.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", what, err, want)
			}
		}
	}
}

// TestBuildRefuses has a row for each way in which one cannot be sent, between two good ones that must not suffer.
func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	job := outboxJob()
	job.Message.MaxBody = 10
	job.Message.Headers = append(job.Message.Headers,
		HeaderSpec{"reply-to", "{reply}"}, HeaderSpec{"label", "l-{label}"})
	many := func(n int) string {
		object := map[string]string{}
		for i := range n {
			object[fmt.Sprintf("h%d", i)] = "x"
		}
		text, _ := json.Marshal(object)
		return string(text)
	}
	room := maxHeaderLine - len("x:")
	for _, c := range []struct {
		field, value string // "null" is SQL null
		class        Class  // empty: allowed
		reason       string
	}{
		{"payload", "null", ClassInvalid, "payload: null"},
		{"payload", "", "", ""},
		{"payload", "0123456789", "", ""},
		{"payload", "0123456789a", ClassTooLarge, "11 bytes, the limit is 10"},
		{"payload", "a\x00b", ClassInvalid, "NUL"},
		{"payload", "a\xff", ClassInvalid, "UTF-8"},
		{"event_id", "null", ClassInvalid, "event_id: column event_id is null"},
		{"event_id", "", ClassInvalid, "event_id: empty"},
		{"event_id", "a\x00", ClassInvalid, "event_id: NUL"},
		{"event_id", strings.Repeat("e", maxHeaderLine), ClassTooLarge, "event_id"},
		{"destination", "null", ClassInvalid, "destination: column destination is null"},
		{"destination", "", ClassNotAllowed, `destination ""`},
		{"destination", "/topic/a", ClassNotAllowed, "/topic/a"},
		{"destination", "/queue/a,/queue/b", ClassNotAllowed, "/queue/a,/queue/b"},
		{"destination", "/queue/\xff", ClassInvalid, "UTF-8"},
		{"destination", "/queue/a\nreceipt:1", ClassNotAllowed, `\n`},
		{"type", "null", "", ""},
		{"type", "", "", ""},
		{"type", "a\x00", ClassInvalid, "header type: NUL"},
		{"type", "\xc3", ClassInvalid, "header type: value is not UTF-8"},
		{"type", strings.Repeat("x", maxHeaderLine-len("type:")), "", ""},
		{"type", strings.Repeat("x", maxHeaderLine-len("type:")+1), ClassTooLarge, "8193 bytes, the limit is 8192"},
		{"label", "null", ClassInvalid, "header label: column label is null"},
		{"reply", "/queue/back", "", ""},
		{"reply", "/temp-queue/back", ClassNotAllowed, "reply-to"},
		{"reply", "queue://x", ClassNotAllowed, "reply-to"},
		{"headers", "{}", "", ""},
		{"headers", " \n{ } ", "", ""},
		{"headers", `{"x":"` + strings.Repeat("y", room) + `"}`, "", ""},
		{"headers", `{"x":"` + strings.Repeat("y", room+1) + `"}`, ClassTooLarge, "header x"},
		{"headers", `{"x":"` + strings.Repeat(`\n`, room/2) + `"}`, "", ""},
		{"headers", `{"x":"` + strings.Repeat(`\n`, room/2+1) + `"}`, ClassTooLarge, "header x"},
		{"headers", many(maxHeaders - 5 - 2), "", ""}, // five of ours, type and label
		{"headers", many(maxHeaders - 5 - 1), ClassTooLarge, "more than 80"},
		{"headers", "", ClassInvalid, "headers"},
		{"headers", "null", "", ""},
		{"headers", " null", ClassInvalid, "not a JSON object of strings"},
		{"headers", "[]", ClassInvalid, "not a JSON object of strings"},
		{"headers", `["a","b"]`, ClassInvalid, "not a JSON object of strings"},
		{"headers", "1", ClassInvalid, "not a JSON object of strings"},
		{"headers", `"a"`, ClassInvalid, "not a JSON object of strings"},
		{"headers", "not json", ClassInvalid, "not a JSON object of strings"},
		{"headers", `{"x":1}`, ClassInvalid, `"x" is not a string`},
		{"headers", `{"x":null}`, ClassInvalid, `"x" is not a string`},
		{"headers", `{"x":true}`, ClassInvalid, `"x" is not a string`},
		{"headers", `{"x":{"y":"z"}}`, ClassInvalid, `"x" is not a string`},
		{"headers", `{"x":["y"]}`, ClassInvalid, `"x" is not a string`},
		{"headers", `{"x":"y"`, ClassInvalid, "headers"},
		{"headers", `{"x":"y",`, ClassInvalid, "headers"},
		{"headers", `{"x":"y",}`, ClassInvalid, "headers"},
		{"headers", `{"x" "y"}`, ClassInvalid, "headers"},
		{"headers", `{"x"`, ClassInvalid, "headers"},
		{"headers", `{1:"y"}`, ClassInvalid, "headers"},
		{"headers", `{"x":"y"} {"z":"y"}`, ClassInvalid, "more than a JSON object"},
		{"headers", `{"x":"y"}]`, ClassInvalid, "headers"},
		{"headers", `{"x":"y","x":"z"}`, ClassInvalid, `"x" appears twice`},
		{"headers", `{"type":"y"}`, ClassInvalid, `"type" appears twice`},
		{"headers", `{"JMSXGroupID":"y"}`, "", ""}, // key is null
		{"headers", `{"event_id":"y"}`, ClassInvalid, "set by Modulo"},
		{"headers", `{"persistent":"false"}`, ClassInvalid, "reserved"},
		{"headers", `{"JMSDeliveryMode":"1"}`, ClassInvalid, "reserved"},
		{"headers", `{"AMQ_SCHEDULED_DELAY":"1"}`, ClassInvalid, "reserved"},
		{"headers", `{"reply-to":"/queue/back"}`, ClassNotAllowed, "only come from the configuration"},
		{"headers", `{"":"y"}`, ClassInvalid, "Java identifier"},
		{"headers", `{"a\nb":"y"}`, ClassInvalid, "Java identifier"},
		{"headers", `{"a:b":"y"}`, ClassInvalid, "Java identifier"},
		{"headers", `{"x":"a\u0000b"}`, ClassInvalid, "header x: NUL"},
	} {
		values := map[string]string{"destination": "/queue/a", "event_id": "e", "type": "t", "label": "l"}
		bad := rowOf(job, 2, "p", values)
		switch {
		case c.field != "payload" && c.value != "null":
			values[c.field] = c.value
			bad = rowOf(job, 2, "p", values)
		case c.field != "payload":
			delete(values, c.field)
			bad = rowOf(job, 2, "p", values)
		case c.value == "null":
			bad.Payload = nil
		default:
			bad.Payload = []byte(c.value)
		}
		bad.Attempts, bad.Key = 4, "k"
		good := map[string]string{"destination": "/queue/a", "event_id": "e", "label": "l"}
		messages, failures := newBuilder(t, job).Build(Batch{Rows: []Row{rowOf(job, 1, "p", good), bad, rowOf(job, 3, "p", good)}})
		what := fmt.Sprintf("%s %.30q", c.field, c.value)
		if c.class == "" {
			if len(failures) > 0 || len(messages) != 3 {
				t.Errorf("%s: refused: %+v", what, failures)
			}
			continue
		}
		if len(failures) != 1 || len(messages) != 2 {
			t.Errorf("%s: %d messages, failures %+v", what, len(messages), failures)
			continue
		}
		f := failures[0]
		if f.RowID != 2 || f.Key != "k" || f.Attempts != 5 || f.Class != c.class || !strings.Contains(f.Reason, c.reason) || f.Delivered {
			t.Errorf("%s: %+v, want %s, %q", what, f, c.class, c.reason)
		}
		if c.field != "event_id" && f.EventID != "e" {
			t.Errorf("%s: the failure has the event id %q", what, f.EventID)
		}
		if messages[0].RowID != 1 || messages[1].RowID != 3 || headersOf(messages[1]) != strings.ReplaceAll(headersOf(messages[0]), "row_id:1", "row_id:3") {
			t.Errorf("%s: the good rows became %+v", what, messages)
		}
	}
}

// TestBuilderKeepsABatchApart: what one builder makes of a whole batch, after others, is what a new builder makes of
// each row alone.
func TestBuilderKeepsABatchApart(t *testing.T) {
	t.Parallel()
	job := outboxJob()
	job.Message.EventID, job.Message.Destination = "e-{event_id}", "/queue/{destination}"
	rapid.Check(t, func(t *rapid.T) {
		shared, err := NewBuilder(job, Shard{Of: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			var batch Batch
			for range rapid.IntRange(0, 20).Draw(t, "rows") {
				batch.Rows = append(batch.Rows, drawRow(t, job, int64(len(batch.Rows))))
			}
			messages, failures := shared.Build(batch)
			var got, want []string
			for i := range messages {
				got = append(got, fmt.Sprintf("%+v", messages[i]))
			}
			for i := range failures {
				got = append(got, fmt.Sprintf("%+v", failures[i]))
			}
			for i := range batch.Rows {
				alone, err := NewBuilder(job, Shard{Of: 1})
				if err != nil {
					t.Fatal(err)
				}
				one, bad := alone.Build(Batch{Rows: batch.Rows[i : i+1]})
				for _, m := range one {
					want = append(want, fmt.Sprintf("%+v", m))
				}
				for _, f := range bad {
					want = append(want, fmt.Sprintf("%+v", f))
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("in a batch\n%s\nalone\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// drawRow is a row of the outbox with good and bad values.
func drawRow(t *rapid.T, job *Job, id int64) Row {
	values := map[string]string{}
	for field, samples := range map[string][]string{
		"destination": {"a", "b.c", "a,b", ""}, "event_id": {"1", "2", "", "\x00"}, "type": {"t", "\xff"}, "key": {"k", ""},
		"headers": {`{}`, `{"x":"y","z":"1"}`, `{"x":1}`, `{"type":"again"}`, `{"x":"` + strings.Repeat("long", 100) + `"}`},
	} {
		if rapid.IntRange(0, 4).Draw(t, field+" is null") > 0 {
			values[field] = rapid.SampledFrom(samples).Draw(t, field)
		}
	}
	return rowOf(job, id, rapid.SampledFrom([]string{"p", "", "a\x00"}).Draw(t, "payload"), values)
}

// checkMessage says what is wrong with a message, by the rules of the STOMP frame and the guarantees alone.
func checkMessage(m Message, row Row, maxBody int) error {
	if names := matchedNames([]string{"/queue/", ""}, m.Destination); names == nil {
		return fmt.Errorf("destination %q", m.Destination)
	}
	if m.RowID != row.ID || len(m.EventID) == 0 || !bytes.Equal(m.Body, row.Payload) || len(m.Body) > maxBody {
		return fmt.Errorf("message %+v of row %+v", m, row)
	}
	if !m.Binary && (bytes.ContainsRune(m.Body, 0) || !bytes.Equal(m.Body, bytes.ToValidUTF8(m.Body, nil))) {
		return fmt.Errorf("body %q is no text", m.Body)
	}
	seen := map[string]bool{}
	for _, h := range m.Headers {
		if seen[h.Name] {
			return fmt.Errorf("header %q twice", h.Name)
		}
		seen[h.Name] = true
		letters := strings.Trim(h.Name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_$") == ""
		switch lower := strings.ToLower(h.Name); {
		case h.Name == "JMSXGroupID" || h.Name == "correlation-id":
		case !letters || h.Name == "" || h.Name[0] >= '0' && h.Name[0] <= '9':
			return fmt.Errorf("header name %q", h.Name)
		case strings.HasPrefix(h.Name, "JMS"), strings.HasPrefix(h.Name, "AMQ_"), strings.HasPrefix(h.Name, "_AMQ"),
			slices.Contains([]string{"destination", "persistent", "receipt", "transaction", "expires", "priority"}, h.Name):
			return fmt.Errorf("header %q weakens the message (%s)", h.Name, lower)
		}
		if bytes.ContainsRune(h.Value, 0) || !bytes.Equal(h.Value, bytes.ToValidUTF8(h.Value, nil)) {
			return fmt.Errorf("value %q of header %s", h.Value, h.Name)
		}
		if line := h.Name + ":" + strings.NewReplacer("\\", "\\\\", ":", "\\c", "\r", "\\r", "\n", "\\n").Replace(string(h.Value)); len(line) > 10_000 {
			return fmt.Errorf("line of %d bytes: %.50q", len(line), line)
		}
		if h.Name == "event_id" && !bytes.Equal(h.Value, m.EventID) {
			return fmt.Errorf("event_id %q, in the header %q", m.EventID, h.Value)
		}
	}
	for _, own := range ownHeaders {
		if !seen[own] {
			return fmt.Errorf("no header %s", own)
		}
	}
	if len(m.Headers) > 90 {
		return fmt.Errorf("%d headers", len(m.Headers))
	}
	return nil
}

// FuzzBuild: whatever a row holds, it becomes a message that is fit to be sent, or one failure with a reason.
func FuzzBuild(f *testing.F) {
	f.Add("/queue/a", []byte("e"), []byte("t"), []byte("k"), []byte(`{"x":"y"}`), []byte("body"), false)
	f.Add("/queue/a\n\n", []byte("\x00"), []byte("a:b\n"), []byte(""), []byte(`{"persistent":"false"}`), []byte("\x00"), true)
	f.Add("/topic/a", []byte("e"), []byte("\xff"), []byte("\r"), []byte(`{"x":"a\u0000"}`), []byte("\x00"), false)
	f.Add("/queue/a", []byte("e"), []byte("t"), []byte("k"), []byte(`{"correlation-id":"\ud800","x":"y"} {}`), []byte(""), false)
	f.Add("/queue/a", []byte("e"), []byte("t"), []byte("k"), []byte(`{"JMSXGroupID":"a","x":"b","x":"c",}`), []byte(""), false)
	job := outboxJob()
	job.Message.MaxBody = 100
	f.Fuzz(func(t *testing.T, destination string, eventID, kind, key, headers, body []byte, binary bool) {
		row := rowOf(job, 1, "", map[string]string{
			"destination": destination, "event_id": string(eventID), "type": string(kind), "key": string(key), "headers": string(headers),
		})
		row.Payload = append([]byte{}, body...)
		messages, failures := newBuilder(t, job).Build(Batch{Rows: []Row{row}, Binary: binary})
		if len(messages)+len(failures) != 1 {
			t.Fatalf("%d messages, %d failures", len(messages), len(failures))
		}
		for _, f := range failures {
			if f.RowID != 1 || f.Attempts != 1 || f.Class == "" || f.Reason == "" {
				t.Fatalf("failure %+v", f)
			}
		}
		for _, m := range messages {
			if err := checkMessage(m, row, 100); err != nil {
				t.Fatal(err)
			}
			object := map[string]string{}
			if err := json.Unmarshal(headers, &object); err != nil {
				t.Fatalf("headers %q are taken for an object of strings: %v", headers, err)
			}
			if len(m.Headers) != len(ownHeaders)+len(job.Message.Headers)+len(object) {
				t.Fatalf("headers %q became\n%s", headers, headersOf(m))
			}
		}
	})
}

// outboxBatch are rows of the outbox with these headers.
func outboxBatch(job *Job, headers map[string]string) Batch {
	values := map[string]string{"destination": "/queue/modulo.events", "event_id": "0198c0de-7d6a-7cc2-a0e3-5a2b1c3d4e5f", "type": "Paid", "key": "customer-1"}
	maps.Copy(values, headers)
	batch := Batch{Rows: make([]Row, 1000)}
	for i := range batch.Rows {
		batch.Rows[i] = rowOf(job, int64(i), strings.Repeat("p", 200), values)
	}
	return batch
}

// Once it has its memory, a builder allocates nothing. Not parallel: it counts.
func TestBuildAllocations(t *testing.T) {
	job := outboxJob()
	builder, batch := newBuilder(t, job), outboxBatch(job, nil)
	if n := testing.AllocsPerRun(10, func() { builder.Build(batch) }); n > 0 {
		t.Errorf("%.0f allocations per 1000 rows", n)
	}
}

// BenchmarkBuild is the outbox with and without headers of the row; allocations per row are what counts.
func BenchmarkBuild(b *testing.B) {
	for name, headers := range map[string]map[string]string{
		"plain": {}, "headers": {"headers": `{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`},
	} {
		b.Run(name, func(b *testing.B) {
			job := outboxJob()
			builder, batch := newBuilder(b, job), outboxBatch(job, headers)
			b.ReportAllocs()
			for b.Loop() {
				builder.Build(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
		})
	}
}
