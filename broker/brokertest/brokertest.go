// Package brokertest is the suite that every broker adapter passes: what jobs.Publisher promises, seen by an independent
// consumer.
package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"modulo/internal/faultproxy"
	"modulo/jobs"
)

// Target is an adapter under test and a broker that speaks STOMP to consumers.
type Target struct {
	Addr               string // of the broker, "host:port"
	Username, Password string // of the consumer
	// Publisher returns an unconnected publisher to a broker at addr: Target.Addr or a proxy in front of it.
	Publisher func(addr string) (jobs.Publisher, error)
}

// Run runs the suite. Its tests are parallel and use queues of their own.
func Run(t *testing.T, target Target) {
	for name, test := range map[string]func(*testing.T, Target){
		"order":                testOrder,
		"many batches":         testManyBatches,
		"large body":           testLargeBody,
		"text and bytes":       testTextAndBytes,
		"header values":        testHeaderValues,
		"many destinations":    testManyDestinations,
		"parallel publishers":  testParallelPublishers,
		"lost connection":      testLostConnection,
		"ended context":        testEndedContext,
		"ended context, early": testEndedContextEarly,
		"close and connect":    testCloseAndConnect,
		"nothing to publish":   testNothingToPublish,
		"not connected":        testNotConnected,
		"unsendable message":   testUnsendableMessage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, target)
		})
	}
}

// Open returns a publisher to the target, not connected, that is closed after the test.
func (target Target) Open(t testing.TB, addr string) jobs.Publisher {
	t.Helper()
	p, err := target.Publisher(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close() // the test may have left it with a dead connection
	})
	return p
}

// Connect connects a publisher that keeps no record.
func Connect(ctx context.Context, p jobs.Publisher) error {
	_, err := p.Connect(ctx)
	return err
}

// Connected is Open and Connect.
func (target Target) Connected(t testing.TB, addr string) jobs.Publisher {
	t.Helper()
	p := target.Open(t, addr)
	if err := Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Texts returns n text messages; their bodies are prefix and a number.
func Texts(destination, prefix string, n int) []jobs.Message {
	messages := make([]jobs.Message, n)
	for i := range messages {
		id := fmt.Appendf(nil, "%s%d", prefix, i)
		messages[i] = jobs.Message{
			RowID: int64(i), EventID: id, Destination: destination, Body: id,
			Headers: []jobs.Header{{Name: "event_id", Value: id}},
		}
	}
	return messages
}

// SameTexts fails the test unless exactly these bodies arrived in this order.
func SameTexts(t testing.TB, got []Received, want []jobs.Message) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i].Body, want[i].Body) {
			t.Fatalf("message %d of %d is %.60q, want %.60q of %d", i, len(got), got[i].Body, want[i].Body, len(want))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages arrived, want %d", len(got), len(want))
	}
}

// delivered closes the publisher and takes what is in the queue. Without the goodbye go-stomp's server, which sends its
// receipts before it carries out what they are for, may still have something to do.
func (target Target) delivered(t testing.TB, p jobs.Publisher, queue string) []Received {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	return target.Drain(t, queue)
}

func publish(t testing.TB, p jobs.Publisher, messages []jobs.Message) {
	t.Helper()
	if err := p.Publish(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
}

func testOrder(t *testing.T, target Target) {
	queue := Queue(t)
	messages := Texts(queue, "row ", 3000)
	p := target.Connected(t, target.Addr)
	publish(t, p, messages)
	SameTexts(t, target.delivered(t, p, queue), messages)
}

func testManyBatches(t *testing.T, target Target) {
	queue := Queue(t)
	messages := Texts(queue, "row ", 300)
	p := target.Connected(t, target.Addr)
	for rest, n := messages, 1; len(rest) > 0; n++ {
		n := min(n, len(rest))
		publish(t, p, rest[:n])
		rest = rest[n:]
	}
	SameTexts(t, target.delivered(t, p, queue), messages)
}

func testLargeBody(t *testing.T, target Target) {
	queue := Queue(t)
	messages := Texts(queue, "small ", 3)
	messages[1].Body = bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	p := target.Connected(t, target.Addr)
	publish(t, p, messages)
	SameTexts(t, target.delivered(t, p, queue), messages)
}

func testTextAndBytes(t *testing.T, target Target) {
	queue := Queue(t)
	messages := Texts(queue, "", 7)
	messages[0].Body = []byte("Zürich 💶")
	messages[1].Body = []byte{}
	messages[2].Body, messages[2].Binary = []byte{0, 1, 0xff, 0, '\n', 0}, true
	messages[3].Body, messages[3].Binary = []byte{}, true
	messages[4].Body, messages[4].Binary = []byte{0}, true
	messages[5].Body, messages[5].Binary = []byte("\x00SEND\ndestination:"+queue+"\n\nsecond frame\x00"), true
	messages[6].Body = []byte("\n\nSEND\ndestination:" + queue + "\n\nno second frame")
	p := target.Connected(t, target.Addr)
	publish(t, p, messages)
	got := target.delivered(t, p, queue)
	SameTexts(t, got, messages)
	for i := range got {
		if got[i].Binary != messages[i].Binary {
			t.Errorf("message %d: binary %v, want %v", i, got[i].Binary, messages[i].Binary)
		}
	}
}

func testHeaderValues(t *testing.T, target Target) {
	queue := Queue(t)
	values := []string{
		"plain", "a:b", `back\slash`, `\n`, `\\c`, "line\nbreak", "carriage\rreturn", "both\r\n", "\n\nSEND\ndestination:/queue/x\n\n",
		" leading", "trailing ", "  ", "", "tab\tulator", "Zürich", "💶 four bytes", "\u2028", `"quoted"`, strings.Repeat("long ", 1500),
	}
	messages := Texts(queue, "", len(values))
	for i, value := range values {
		messages[i].Headers = append(messages[i].Headers, jobs.Header{Name: "value", Value: []byte(value)},
			jobs.Header{Name: "behind", Value: []byte("still here")})
	}
	p := target.Connected(t, target.Addr)
	publish(t, p, messages)
	got := target.delivered(t, p, queue)
	SameTexts(t, got, messages)
	for i, value := range values {
		if got[i].Headers["value"] != value || got[i].Headers["behind"] != "still here" {
			t.Errorf("value %.60q came as %.60q, behind it %q", value, got[i].Headers["value"], got[i].Headers["behind"])
		}
		if got[i].Headers["persistent"] != "true" {
			t.Errorf("value %.60q: persistent is %q", value, got[i].Headers["persistent"])
		}
	}
}

func testManyDestinations(t *testing.T, target Target) {
	a, b := Queue(t), Queue(t)
	messages := append(Texts(a, "a", 10), Texts(b, "b", 10)...)
	var mixed []jobs.Message
	for i := range 10 {
		mixed = append(mixed, messages[i], messages[10+i])
	}
	p := target.Connected(t, target.Addr)
	publish(t, p, mixed)
	SameTexts(t, target.delivered(t, p, a), messages[:10])
	SameTexts(t, target.Drain(t, b), messages[10:])
}

func testParallelPublishers(t *testing.T, target Target) {
	queues := []string{Queue(t), Queue(t), Queue(t)}
	var running sync.WaitGroup
	for _, queue := range queues {
		p := target.Connected(t, target.Addr)
		running.Go(func() {
			for range 10 {
				if err := p.Publish(t.Context(), Texts(queue, queue, 50), nil); err != nil {
					t.Error(err)
				}
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	for _, queue := range queues {
		if got := target.Drain(t, queue); len(got) != 500 {
			t.Errorf("%d messages in %s, want 500", len(got), queue)
		}
	}
}

func testLostConnection(t *testing.T, target Target) {
	queue, proxy := Queue(t), Proxy(t, target.Addr)
	messages := Texts(queue, "row ", 20)
	p := target.Connected(t, proxy.Addr())
	publish(t, p, messages[:10])
	if err := errors.Join(p.Close(), Connect(t.Context(), p)); err != nil { // a goodbye, for the reason of delivered
		t.Fatal(err)
	}
	for _, how := range []faultproxy.End{faultproxy.FIN, faultproxy.RST} {
		proxy.Set(faultproxy.Faults{Up: faultproxy.Flow{Cut: &faultproxy.Cut{After: 200, How: how}}})
		err := p.Publish(t.Context(), messages[10:], nil)
		if failed := PublishFailed(t, err); failed.Fault != jobs.FaultConnection || len(failed.Refused) > 0 {
			t.Fatalf("publishing on a cut connection: %v", err)
		}
		if err := Connect(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, p, messages[10:])
	SameTexts(t, distinct(target.delivered(t, p, queue)), messages)
}

// distinct leaves out repeats.
func distinct(all []Received) []Received {
	seen := map[string]bool{}
	var first []Received
	for _, r := range all {
		if !seen[r.Text()] {
			first = append(first, r)
		}
		seen[r.Text()] = true
	}
	return first
}

func testEndedContext(t *testing.T, target Target) {
	queue, proxy := Queue(t), Proxy(t, target.Addr)
	p := target.Connected(t, proxy.Addr())
	proxy.Set(faultproxy.Faults{Down: faultproxy.Flow{Drop: true}})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- p.Publish(ctx, Texts(queue, "row ", 10), nil) }()
	Await(t, "bytes of the batch", func() bool { up, _ := proxy.Carried(); return up > 0 })
	cancel()
	err := <-result
	if failed := PublishFailed(t, err); failed.Fault != jobs.FaultConnection || !errors.Is(err, context.Canceled) {
		t.Fatalf("publishing when the context ends: %v", err)
	}
	Await(t, "end of the connection", func() bool { return proxy.Links() == 0 })
	proxy.Set(faultproxy.Faults{})
	if err := Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	publish(t, p, Texts(queue, "again ", 1))
}

func testEndedContextEarly(t *testing.T, target Target) {
	queue := Queue(t)
	p := target.Connected(t, target.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := p.Publish(ctx, Texts(queue, "row ", 10), nil)
	if failed := PublishFailed(t, err); failed.Fault != jobs.FaultConnection || !errors.Is(err, context.Canceled) {
		t.Errorf("publishing with an ended context: %v", err)
	}
	if err = Connect(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("connecting with an ended context: %v", err)
	}
	if err := Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	publish(t, p, Texts(queue, "again ", 1))
}

func testCloseAndConnect(t *testing.T, target Target) {
	queue := Queue(t)
	messages := Texts(queue, "row ", 3)
	p := target.Open(t, target.Addr)
	for i := range messages {
		for range 2 { // the second one does nothing
			if err := Connect(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, p, messages[i:i+1])
		for range 2 {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	SameTexts(t, target.Drain(t, queue), messages)
}

func testNothingToPublish(t *testing.T, target Target) {
	p := target.Connected(t, target.Addr)
	publish(t, p, nil)
	publish(t, p, []jobs.Message{})
}

func testNotConnected(t *testing.T, target Target) {
	p := target.Open(t, target.Addr)
	err := p.Publish(t.Context(), Texts(Queue(t), "row ", 1), nil)
	if failed := PublishFailed(t, err); failed.Fault != jobs.FaultConnection {
		t.Errorf("publishing before Connect: %v", err)
	}
}

// A message that would break its frame is refused before anything is sent, and the connection stays.
func testUnsendableMessage(t *testing.T, target Target) {
	queue := Queue(t)
	p := target.Connected(t, target.Addr)
	messages := Texts(queue, "row ", 3)
	bad := Texts(queue, "row ", 3)
	bad[1].Body = []byte("text\x00SEND\ndestination:" + queue + "\n\nowned")
	failed := PublishFailed(t, p.Publish(t.Context(), bad, nil))
	if failed.Fault != jobs.FaultMessage || len(failed.Refused) != 1 || failed.Refused[0].Index != 1 {
		t.Errorf("publishing a text with NUL: %+v", failed)
	}
	publish(t, p, messages)
	SameTexts(t, target.delivered(t, p, queue), messages)
}
