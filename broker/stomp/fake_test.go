package stomp_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/jobs"
)

// fake is one connection of a scripted broker: it does what no real one does on demand.
type fake struct {
	*net.TCPConn
	r     *frame.Reader
	err   error        // how the client ended the connection
	ended chan<- error // receives it from wait
}

// fakeBroker runs the script for every connection, each in a goroutine of its own that ends with the test. The channel
// receives how connections ended, from scripts that wait for it.
func fakeBroker(t testing.TB, script func(c *fake)) (addr string, ended <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, 1000)
	var running sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				script(&fake{TCPConn: conn.(*net.TCPConn), r: frame.NewReader(conn), ended: ends})
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return listener.Addr().String(), ends
}

// next returns the next frame, nil when the client is gone.
func (c *fake) next() *frame.Frame {
	for {
		f, err := c.r.Read()
		if err != nil {
			c.err = err
			return nil
		}
		if f != nil {
			return f
		}
	}
}

// until reads up to a frame with this command and returns it, nil when the client is gone.
func (c *fake) until(command string) *frame.Frame {
	for {
		if f := c.next(); f == nil || f.Command == command {
			return f
		}
	}
}

func (c *fake) say(text string) { _, _ = io.WriteString(c, text) } // the client may be gone

// accept answers CONNECT as a broker of that name, without heart-beats.
func (c *fake) accept(server string) *frame.Frame {
	f := c.until(frame.CONNECT)
	c.say("CONNECTED\nversion:1.2\nserver:" + server + "\nheart-beat:0,0\n\n\x00\n")
	return f
}

func (c *fake) receipt(id string) { c.say("RECEIPT\nreceipt-id:" + id + "\n\n\x00\n") }

// wait reads until the client ends the connection and reports how. It answers a goodbye.
func (c *fake) wait() {
	for c.err == nil {
		if f := c.next(); f != nil && f.Command == frame.DISCONNECT {
			c.receipt(f.Header.Get(frame.Receipt))
		}
	}
	c.ended <- c.err
}

const (
	classic  = "ActiveMQ/5.17.2"
	artemis  = "ActiveMQ-Artemis/2.50.0 ActiveMQ Artemis Messaging Engine"
	rabbitMQ = "RabbitMQ/4.1.0"
)

// quick are deadlines for tests that wait for them to pass.
var quick = stomp.Config{WriteTimeout: deadline, ReceiptTimeout: deadline}

const (
	// deadline is one that a broker which answers keeps, on a machine that stops for some seconds now and then.
	deadline = 5 * time.Second
	// soon is what has to happen at once and not at the default deadline for receipts, on such a machine.
	soon = 20 * time.Second
)

// with returns quick with a way to confirm.
func with(confirm stomp.Confirm, window int) stomp.Config {
	cfg := quick
	cfg.Confirm, cfg.Window = confirm, window
	return cfg
}

// within fails the test if f takes longer than it may.
func within(t testing.TB, limit time.Duration, f func() error) error {
	t.Helper()
	began := time.Now()
	err := f()
	if took := time.Since(began); took > limit {
		t.Errorf("took %s, want at most %s: %v", took, limit, err)
	}
	return err
}

// publishFails publishes and returns the error, which must come within the limit.
func publishFails(t testing.TB, limit time.Duration, p jobs.Publisher, messages []jobs.Message) *jobs.PublishError {
	t.Helper()
	return brokertest.PublishFailed(t, within(t, limit, func() error { return p.Publish(t.Context(), messages, nil) }))
}

// mustReset fails the test unless the client ends the connection by RST.
func mustReset(t testing.TB, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection was ended by %v, want RST", err)
		}
	case <-time.After(soon):
		t.Error("the connection was not ended")
	}
}
