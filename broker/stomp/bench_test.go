package stomp_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/faultproxy"
	"modulo/jobs"
)

// outbox are messages as the service sends them: 512 bytes and its own headers.
func outbox(destination string, n int) []jobs.Message {
	messages := brokertest.Texts(destination, "0198c2f0-7c1e-7000-8000-", n)
	for i := range messages {
		m := &messages[i]
		m.Body = bytes.Repeat([]byte("x"), 512)
		m.Headers = append(m.Headers,
			jobs.Header{Name: "job", Value: []byte("outbox")}, jobs.Header{Name: "row_id", Value: []byte("1234567")},
			jobs.Header{Name: "worker", Value: []byte("3/8")}, jobs.Header{Name: "epoch", Value: []byte("17")})
	}
	return messages
}

// BenchmarkPublish measures confirmed rows per second of one worker on ActiveMQ, in batches of 1000: by way of confirming,
// and with 20 ms between us and the broker.
func BenchmarkPublish(b *testing.B) {
	for _, way := range []struct {
		name  string
		cfg   stomp.Config
		delay time.Duration
	}{
		{"transaction", stomp.Config{}, 0},
		{"receipt 1", stomp.Config{Confirm: stomp.Receipt, Window: 1}, 0},
		{"receipt 16", stomp.Config{Confirm: stomp.Receipt, Window: 16}, 0},
		{"receipt 256", stomp.Config{Confirm: stomp.Receipt, Window: 256}, 0},
		{"transaction, 20 ms", stomp.Config{}, 20 * time.Millisecond},
		{"receipt 256, 20 ms", stomp.Config{Confirm: stomp.Receipt, Window: 256}, 20 * time.Millisecond},
	} {
		b.Run(way.name, func(b *testing.B) {
			broker := activeMQ(b, way.cfg)
			addr := broker.Addr
			if way.delay > 0 {
				proxy := brokertest.Proxy(b, addr)
				proxy.Set(faultproxy.Faults{Down: faultproxy.Flow{Delay: way.delay}})
				addr = proxy.Addr()
			}
			queue := brokertest.Queue(b)
			benchmark(b, broker.Connected(b, addr), queue)
			broker.Drain(b, queue) // full queues fill the broker's memory, and it stops reading
		})
	}
}

// BenchmarkPublishToNowhere measures our own share: the broker only answers.
func BenchmarkPublishToNowhere(b *testing.B) {
	addr, _ := fakeBroker(b, func(c *fake) {
		c.accept(classic)
		buffer := make([]byte, 1<<20)
		for tail := []byte(nil); ; {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			tail = append(tail, buffer[max(0, n-200):n]...)
			tail = tail[max(0, len(tail)-200):]
			if _, receipt, found := bytes.Cut(tail, []byte("COMMIT\ntransaction:")); found {
				id, _, _ := bytes.Cut(receipt, []byte("\n"))
				c.receipt(string(id))
				tail = tail[:0]
			} else if bytes.Contains(tail, []byte(frame.DISCONNECT)) {
				return
			}
		}
	})
	broker := target(addr, stomp.Config{})
	benchmark(b, broker.Connected(b, addr), "/queue/nowhere")
}

func benchmark(b *testing.B, p jobs.Publisher, queue string) {
	messages := outbox(queue, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Publish(b.Context(), messages, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(messages))/b.Elapsed().Seconds(), "rows/s")
}
