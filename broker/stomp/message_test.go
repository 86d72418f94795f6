package stomp_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// Cases 20, 29 and 30 as ActiveMQ's own Java client sees them: type, persistence, body and headers.
func TestMessagesInJava(t *testing.T) {
	t.Parallel()
	queue := brokertest.Queue(t)
	broker := activeMQ(t, stomp.Config{})
	messages := brokertest.Texts(queue, "", 3)
	messages[0].Body = []byte("Zürich 💶\r\nline 2")
	messages[0].Headers = append(messages[0].Headers,
		jobs.Header{Name: "type", Value: []byte("Invoice:Approved")},
		jobs.Header{Name: "correlation-id", Value: []byte(`a\b:c`)},
		jobs.Header{Name: "JMSXGroupID", Value: []byte("customer 7")},
		jobs.Header{Name: "odd", Value: []byte(" \r\n:\\n€ ")})
	messages[1].Body, messages[1].Binary = []byte{0, 1, 0xff, 0}, true
	messages[2].Body = []byte{}
	if err := broker.Connected(t, broker.Addr).Publish(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
	got := testservers.Consume(t, testservers.Broker(t), strings.TrimPrefix(queue, "/queue/"), len(messages))
	if len(got) != len(messages) {
		t.Fatalf("%d messages, want %d", len(got), len(messages))
	}
	for i, want := range []struct{ class, body string }{
		{"TextMessage", string(messages[0].Body)}, {"BytesMessage", string(messages[1].Body)}, {"TextMessage", ""},
	} {
		if got[i].Class != want.class || got[i].Text+string(got[i].Bytes) != want.body || !got[i].Persistent || got[i].Expiration != 0 {
			t.Errorf("message %d: %+v, want %+v", i, got[i], want)
		}
		if id := got[i].Property("event_id"); id != string(messages[i].EventID) {
			t.Errorf("message %d: event_id %q", i, id)
		}
	}
	first := got[0]
	if first.Type != "Invoice:Approved" || first.CorrelationID != `a\b:c` || first.GroupID != "customer 7" ||
		first.Property("odd") != " \r\n:\\n€ " || len(first.Properties) != 2 {
		t.Errorf("headers: %+v", first)
	}
}

// Case 22: a body beyond the broker's own limit, which nobody told us. It is refused for itself, and no part of it
// becomes a message, whatever it is made of: frames, or lines that look like one where the limit falls.
func TestBodyBeyondTheBrokersLimit(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	mq := testservers.OwnBroker(t, local.ActiveMQConfig{MaxFrameSize: limit})
	forStrategiesInTurn(t, func(t *testing.T, cfg stomp.Config) {
		queue := brokertest.Queue(t)
		broker := target(address(mq.URL()), cfg)
		p := broker.Connected(t, broker.Addr)
		injection := "\nSEND\ndestination:" + queue + "\npersistent:true\n\nowned\x00"
		frames := []byte(strings.Repeat(injection, 2*limit/len(injection)))
		lines := append(bytes.Repeat([]byte("\n"), limit), strings.TrimSuffix(injection, "\x00")...)
		for _, large := range []jobs.Message{{Body: frames, Binary: true}, {Body: lines}} {
			for range 5 { // whether the broker reads on is a matter of luck
				messages := brokertest.Texts(queue, "row ", 3)
				messages[1].Body, messages[1].Binary = large.Body, large.Binary
				failed := publishFails(t, soon, p, messages)
				if failed.Fault != jobs.FaultMessage || len(failed.Refused) != 1 || failed.Refused[0].Index != 1 ||
					!strings.Contains(failed.Refused[0].Reason, "maximum frame size") {
					t.Errorf("%+v", failed)
				}
				if err := brokertest.Connect(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
		}
		fitting := brokertest.Texts(queue, "good ", 3)
		fitting[1].Body = bytes.Repeat([]byte("x"), limit-1000)
		for range 2 {
			if err := p.Publish(t.Context(), fitting, nil); err != nil {
				t.Fatal(err)
			}
		}
		brokertest.SameTexts(t, broker.Drain(t, queue), append(fitting, fitting...))
	})
}

// Case 23: the longest header and the most headers that we let pass do pass; one more is refused before it is sent.
func TestLargestHeaders(t *testing.T) {
	t.Parallel()
	queue := brokertest.Queue(t)
	broker := activeMQ(t, stomp.Config{})
	p := broker.Connected(t, broker.Addr)
	value := func(n int) jobs.Message {
		m := brokertest.Texts(queue, "row ", 1)[0]
		m.Headers = append(m.Headers, jobs.Header{Name: strings.Repeat("a", 200), Value: bytes.Repeat([]byte(":"), n)})
		return m
	}
	many := func(n int) jobs.Message {
		m := brokertest.Texts(queue, "row ", 1)[0]
		for i := range n - 1 {
			m.Headers = append(m.Headers, jobs.Header{Name: fmt.Sprintf("h%d", i), Value: []byte("x")})
		}
		return m
	}
	fitting := []jobs.Message{value(5000), many(900)}
	if err := p.Publish(t.Context(), fitting, nil); err != nil {
		t.Fatal(err)
	}
	failed := publishFails(t, soon, p, []jobs.Message{value(5001), many(901), value(1)})
	if failed.Fault != jobs.FaultMessage || len(failed.Refused) != 2 {
		t.Errorf("%+v", failed)
	}
	brokertest.SameTexts(t, broker.Drain(t, queue), fitting)
}
