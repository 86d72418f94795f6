package stomp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/jobs"
)

func TestAppendSend(t *testing.T) {
	t.Parallel()
	text := jobs.Message{
		Destination: "/queue/a", EventID: []byte("e:1"), Body: []byte("hällo"),
		Headers: []jobs.Header{{Name: "event_id", Value: []byte("e:1")}},
	}
	binary := text
	binary.Body, binary.Binary = []byte{0, '\n'}, true
	topic := text
	topic.Destination = "/topic/a"
	for _, test := range []struct {
		name    string
		dialect dialect
		common  string
		receipt uint64
		message jobs.Message
		want    string
	}{
		{"in a transaction", dialect{server: classic}, "transaction:7\n", 0, text,
			"SEND\npersistent:true\ntransaction:7\ndestination:/queue/a\nevent_id:e\\c1\n\nhällo\x00"},
		{"bytes with a receipt", dialect{server: classic}, "", 8, binary,
			"SEND\npersistent:true\ndestination:/queue/a\nreceipt:8\nevent_id:e\\c1\ncontent-length:2\n\n\x00\n\x00"},
		{"Artemis queue", dialect{server: artemis}, "", 9, text,
			"SEND\npersistent:true\ndestination:a\ndestination-type:ANYCAST\nreceipt:9\n_AMQ_DUPL_ID:e\\c1\nevent_id:e\\c1\n\nhällo\x00"},
		{"Artemis topic", dialect{server: artemis}, "", 9, topic,
			"SEND\npersistent:true\ndestination:a\ndestination-type:MULTICAST\nreceipt:9\n_AMQ_DUPL_ID:e\\c1\nevent_id:e\\c1\n\nhällo\x00"},
		{"Artemis with prefixes", dialect{server: artemis, keepPrefix: true}, "", 9, topic,
			"SEND\npersistent:true\ndestination:/topic/a\ndestination-type:MULTICAST\nreceipt:9\n_AMQ_DUPL_ID:e\\c1\nevent_id:e\\c1\n\nhällo\x00"},
		{"RabbitMQ", dialect{server: rabbitMQ}, "", 9, text,
			"SEND\npersistent:true\ndestination:/queue/a\nreceipt:9\nevent_id:e\\c1\n\nhällo\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if err := check(&test.message, nil); err != nil {
				t.Fatal(err)
			}
			if got := appendSend(nil, test.dialect, []byte(test.common), test.receipt, &test.message); string(got) != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// Cases 29 to 32 of the broker test plan, as far as the last gate before the wire has to stop them.
func TestCheck(t *testing.T) {
	t.Parallel()
	header := func(name, value string) jobs.Message {
		return jobs.Message{Destination: "/queue/a", Headers: []jobs.Header{{Name: name, Value: []byte(value)}}}
	}
	for name, m := range map[string]jobs.Message{
		"no destination":          {},
		"destination with NUL":    {Destination: "/queue/a\x00"},
		"destination not UTF-8":   {Destination: "/queue/\xff"},
		"long destination":        {Destination: "/queue/" + strings.Repeat("a", maxHeaderLine)},
		"NUL in a text":           {Destination: "/queue/a", Body: []byte("a\x00")},
		"only NUL in a text":      {Destination: "/queue/a", Body: []byte("\x00")},
		"text not UTF-8":          {Destination: "/queue/a", Body: []byte("\xed\xa0\xbd")},
		"value with NUL":          header("a", "\x00"),
		"value not UTF-8":         header("a", "\xc3\x28"),
		"long value":              header("a", strings.Repeat("a", maxHeaderLine+1)),
		"long value when escaped": header("a", strings.Repeat(":", maxHeaderLine/2+1)),
		"empty name":              header("", "a"),
		"name with a colon":       header("a:b", "c"),
		"name with a backslash":   header(`a\c`, "c"),
		"name with a line feed":   header("a\ndestination", "c"),
		"name with a return":      header("a\r", "c"),
		"name with a space":       header("a b", "c"),
		"name with NUL":           header("a\x00", "c"),
		"name not UTF-8":          header("\xff", "c"),
		"long name":               header(strings.Repeat("a", maxName+1), "c"),
		"second destination":      header("destination", "/queue/b"),
		"weaker persistence":      header("persistent", "false"),
		"receipt":                 header("receipt", "1"),
		"transaction":             header("transaction", "1"),
		"content-length":          header("content-length", "1"),
		"destination-type":        header("destination-type", "MULTICAST"),
		"_AMQ_DUPL_ID":            header("_AMQ_DUPL_ID", "1"),
		"many headers":            {Destination: "/queue/a", Headers: make([]jobs.Header, maxHeaders+1)},
	} {
		if err := check(&m, nil); err == nil {
			t.Errorf("%s: not refused", name)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	m := header("a", strings.Repeat(":", maxHeaderLine/2))
	if err := check(&m, nil); err != nil {
		t.Errorf("longest value: %v", err)
	}
}

// FuzzEncode: whatever passes check is, to go-stomp's reader, one frame with these headers and this body and no more.
func FuzzEncode(f *testing.F) {
	f.Add("/queue/a", "name", []byte("value"), "second", []byte("\r\n:\\"), []byte("body"), false, true, uint8(0))
	f.Add("/topic/ü", "a", []byte(" x "), "content-type", []byte("\n\nSEND\n"), []byte("\x00SEND\n\n\x00"), true, false, uint8(2))
	f.Add("/queue/a", "a", []byte("b"), "c", []byte("d"), []byte("\U0001F388"), false, true, uint8(classic))
	f.Fuzz(func(t *testing.T, destination, name1 string, value1 []byte, name2 string, value2, body []byte,
		binary, transaction bool, kind uint8) {
		m := jobs.Message{
			Destination: destination, EventID: value1, Body: body, Binary: binary,
			Headers: []jobs.Header{{Name: name1, Value: value1}, {Name: name2, Value: value2}},
		}
		if check(&m, nil) != nil {
			return
		}
		d, common, receipt := dialect{server: server(kind % 4), javaText: kind >= 4}, "", uint64(17)
		want := frame.New("SEND", "persistent", "true")
		if transaction {
			common, receipt = "transaction:1\n", 0
			want.Header.Add("transaction", "1")
		}
		if d.server == artemis {
			short, topic := strings.CutPrefix(destination, "/topic/")
			routing := "ANYCAST"
			if topic {
				routing = "MULTICAST"
			} else {
				short = strings.TrimPrefix(destination, "/queue/")
			}
			want.Header.Add("destination", short)
			want.Header.Add("destination-type", routing)
		} else {
			want.Header.Add("destination", destination)
		}
		if !transaction {
			want.Header.Add("receipt", "17")
			if d.server == artemis && len(value1) > 0 {
				want.Header.Add("_AMQ_DUPL_ID", string(value1))
			}
		}
		want.Header.Add(name1, string(value1))
		want.Header.Add(name2, string(value2))
		if binary {
			want.Header.Add("content-length", fmt.Sprint(len(body)))
		}
		want.Body = d.body(&m)
		oneFrame(t, appendSend(nil, d, []byte(common), receipt, &m), want)
	})
}

// oneFrame fails unless go-stomp reads exactly this frame and nothing behind it.
func oneFrame(t *testing.T, wire []byte, want *frame.Frame) {
	t.Helper()
	r := frame.NewReader(bytes.NewReader(wire))
	got, err := r.Read()
	if err != nil {
		t.Fatalf("%q: %v", wire, err)
	}
	if got.Command != want.Command || got.Header.Len() != want.Header.Len() || !bytes.Equal(got.Body, want.Body) {
		t.Fatalf("%q: %s with %d headers and body %q, want %s with %d and %q", wire,
			got.Command, got.Header.Len(), got.Body, want.Command, want.Header.Len(), want.Body)
	}
	for i := range got.Header.Len() {
		name, value := got.Header.GetAt(i)
		wantName, wantValue := want.Header.GetAt(i)
		if name != wantName || value != wantValue {
			t.Errorf("%q: header %d is %q: %q, want %q: %q", wire, i, name, value, wantName, wantValue)
		}
	}
	if more, err := r.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("%q: behind the frame %v, %v", wire, more, err)
	}
}

func BenchmarkAppendSend(b *testing.B) {
	m := jobs.Message{Destination: "/queue/modulo.events", Body: bytes.Repeat([]byte("x"), 512), Headers: []jobs.Header{
		{Name: "event_id", Value: []byte("0198c2f0-7c1e-7000-8000-000000000000")}, {Name: "job", Value: []byte("outbox")},
		{Name: "row_id", Value: []byte("1234567")}, {Name: "worker", Value: []byte("3/8")}, {Name: "epoch", Value: []byte("17")},
		{Name: "type", Value: []byte("InvoiceApproved")}, {Name: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
	}}
	buffer, common := make([]byte, 0, 4096), []byte("transaction:123456\n")
	b.SetBytes(int64(len(appendSend(nil, dialect{}, common, 0, &m))))
	b.ReportAllocs()
	for b.Loop() {
		if check(&m, nil) != nil {
			b.Fatal("refused")
		}
		buffer = appendSend(buffer[:0], dialect{}, common, 0, &m)
	}
}

// Neither the last gate nor a frame allocates anything. Not parallel: it counts.
func TestEncodeAllocations(t *testing.T) {
	messages := make([]jobs.Message, 100)
	for i := range messages {
		messages[i] = jobs.Message{
			Destination: "/queue/modulo.events", EventID: []byte("0198c2f0-7c1e-7000-8000-000000000000"), Body: bytes.Repeat([]byte("x"), 512),
			Headers: []jobs.Header{{Name: "event_id", Value: []byte("0198c2f0-7c1e-7000-8000-000000000000")}, {Name: "worker", Value: []byte("3/8")}},
		}
	}
	buffer, common := make([]byte, 0, 1<<20), []byte("transaction:1\n")
	if n := testing.AllocsPerRun(10, func() {
		if refusals := checkAll(messages); len(refusals) > 0 {
			t.Error(refusals)
		}
		b := buffer
		for i := range messages {
			b = appendSend(b, dialect{server: classic}, common, 0, &messages[i])
		}
	}); n > 0 {
		t.Errorf("%.0f allocations per 100 messages", n)
	}
}
