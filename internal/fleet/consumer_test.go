package fleet

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/internal/programtest"
)

// consume takes what arrives in the queues of a load, also from a broker that is killed now and then. A message is
// acknowledged once it is noted: what was on its way comes again, with the message id that it had.
func consume(t *testing.T, brokerURL string, of *load) *stream {
	t.Helper()
	address, err := url.Parse(brokerURL)
	if err != nil {
		t.Fatal(err)
	}
	s := newStream(of)
	conn, err := s.subscribe(t.Context(), address.Host)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.reading.Go(func() {
		for ctx.Err() == nil {
			if conn != nil {
				s.read(ctx, conn)
			}
			_ = programtest.Pause(ctx, 50*time.Millisecond) // an early end shows in ctx
			conn, _ = s.subscribe(ctx, address.Host)        // the broker is away: try again
		}
	})
	t.Cleanup(func() { cancel(); s.reading.Wait() })
	return s
}

// subscribe connects, and asks for the messages of all queues.
func (s *stream) subscribe(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	out := frame.NewWriter(conn)
	err = out.Write(frame.New(frame.CONNECT, frame.AcceptVersion, "1.2", frame.Host, "localhost", frame.HeartBeat, "0,0"))
	for i, queue := range s.load.queues {
		if err == nil {
			err = out.Write(frame.New(frame.SUBSCRIBE, frame.Id, fmt.Sprint(i), frame.Destination, "/queue/"+queue,
				frame.Ack, frame.AckClient, "activemq.prefetchSize", fmt.Sprint(prefetch)))
		}
	}
	if err != nil {
		_ = conn.Close() // of no use
		return nil, err
	}
	return conn, nil
}

// prefetch is how many messages of a queue wait for their acknowledgement at most.
const prefetch = 1000

// acknowledgement is of a message, and of all before it in its queue.
type acknowledgement struct {
	queue int
	id    string
}

// read notes messages until the connection ends, or ctx. Acknowledging is a goroutine of its own: were nobody to read while
// it waits, the broker could wait in turn, to be read from.
func (s *stream) read(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	acks := make(chan acknowledgement, prefetch*len(s.load.queues)) // never full
	var acknowledging sync.WaitGroup
	acknowledging.Go(func() { acknowledge(conn, acks) })
	defer acknowledging.Wait()
	defer close(acks)
	defer conn.Close()
	for in := frame.NewReader(conn); ; {
		f, err := in.Read()
		if err != nil {
			return
		}
		if f == nil || f.Command != frame.MESSAGE { // a heart-beat, or CONNECTED
			continue
		}
		var queue int
		if _, err := fmt.Sscan(f.Header.Get(frame.Subscription), &queue); err != nil {
			return
		}
		s.note(s.load.queues[queue], f)
		acks <- acknowledgement{queue, f.Header.Get(frame.Ack)}
	}
}

// acknowledge acknowledges until there is nothing more or the connection has ended. Of what has come meanwhile it
// acknowledges the last of each queue: a storm of small frames would fill the broker's buffers.
func acknowledge(conn net.Conn, acks <-chan acknowledgement) {
	out := frame.NewWriter(conn)
	for first := range acks {
		last := map[int]string{first.queue: first.id}
		for n := len(acks); n > 0; n-- {
			next := <-acks
			last[next.queue] = next.id
		}
		for _, id := range last {
			if out.Write(frame.New(frame.ACK, frame.Id, id)) != nil {
				return // the reader finds out too
			}
		}
	}
}
