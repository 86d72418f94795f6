package stomp_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/faultproxy"
	"modulo/internal/testservers"
	"modulo/jobs"
)

var silent = faultproxy.Faults{Up: faultproxy.Flow{Drop: true}, Down: faultproxy.Flow{Drop: true}}

// Case 12, idle: a network that carries nothing more is noticed by the heart-beats, and Connect opens a new connection.
func TestSilentNetworkWhileIdle(t *testing.T) {
	t.Parallel()
	queue := brokertest.Queue(t)
	broker := activeMQ(t, stomp.Config{Heartbeat: 500 * time.Millisecond})
	proxy := brokertest.Proxy(t, broker.Addr)
	p := broker.Connected(t, proxy.Addr())
	proxy.Set(silent)
	brokertest.Await(t, "the end of the connection", func() bool { return proxy.Links() == 0 })
	proxy.Set(faultproxy.Faults{})
	brokertest.Await(t, "a batch to go through", func() bool { // such heart-beats are too fast for a busy machine
		return brokertest.Connect(t.Context(), p) == nil && p.Publish(t.Context(), brokertest.Texts(queue, "row ", 1), nil) == nil
	})
}

// Case 12, under way: the heart-beats end the wait for a receipt long before its own deadline.
func TestSilentNetworkWhileWaiting(t *testing.T) {
	t.Parallel()
	forStrategies(t, func(t *testing.T, cfg stomp.Config) {
		queue := brokertest.Queue(t)
		// Not faster: ActiveMQ, which has no grace, would end the connection of a busy machine before the network is silent.
		broker := activeMQ(t, stomp.Config{Confirm: cfg.Confirm, Window: cfg.Window, Heartbeat: 2 * time.Second})
		proxy := brokertest.Proxy(t, broker.Addr)
		p := broker.Connected(t, proxy.Addr())
		proxy.Set(silent)
		failed := publishFails(t, soon, p, brokertest.Texts(queue, "row ", 100))
		if failed.Fault != jobs.FaultConnection || !strings.Contains(failed.Error(), "no heart-beat") {
			t.Errorf("%+v", failed)
		}
	})
}

// A broker that takes no more bytes fills the buffers; the write deadline ends it.
func TestBrokerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	forStrategies(t, func(t *testing.T, cfg stomp.Config) {
		if cfg.Window > 0 {
			cfg.Window = 1000
		}
		stop := make(chan struct{})
		addr, _ := fakeBroker(t, func(c *fake) {
			c.accept(classic)
			<-stop
		})
		t.Cleanup(func() { close(stop) }) // before that of the fake broker, which waits for the script
		p := target(addr, cfg).Connected(t, addr)
		messages := brokertest.Texts("/queue/a", "row ", 300)
		for i := range messages {
			messages[i].Body = []byte(strings.Repeat("x", 100_000))
		}
		failed := brokertest.PublishFailed(t, p.Publish(t.Context(), messages, nil))
		if failed.Fault != jobs.FaultConnection || !strings.Contains(failed.Error(), "takes no more bytes") {
			t.Errorf("%+v", failed)
		}
	})
}

// Case 37: who sends how often, for what a broker may answer. ActiveMQ mirrors the wish and has no patience beyond it.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		wish       time.Duration
		answer     string
		beats      bool // we must send
		disconnect bool // a silent broker must be given up
	}{
		{100 * time.Millisecond, "heart-beat:100,100\n", true, true},
		{100 * time.Millisecond, "heart-beat:0,100\n", true, false},
		{100 * time.Millisecond, "heart-beat:100,0\n", false, true},
		{100 * time.Millisecond, "heart-beat:0,0\n", false, false},
		{100 * time.Millisecond, "", false, false},
		{-1, "heart-beat:50,50\n", false, false},
	} {
		t.Run(fmt.Sprint(test.wish, " ", test.answer), func(t *testing.T) {
			t.Parallel()
			beats := make(chan bool, 100)
			addr, _ := fakeBroker(t, func(c *fake) {
				c.until(frame.CONNECT)
				c.say("CONNECTED\nversion:1.2\n" + test.answer + "\n\x00")
				beats <- c.hearsBeat(test.beats)
				c.wait()
			})
			proxy := brokertest.Proxy(t, addr)
			connection := func() bool {
				target(addr, stomp.Config{Heartbeat: test.wish}).Connected(t, proxy.Addr())
				return <-beats
			}
			if test.beats { // a busy machine may give up the broker before it is its turn to beat
				brokertest.Await(t, "a heart-beat", connection)
			} else if connection() {
				t.Error("heart-beats came")
			}
			if test.disconnect {
				brokertest.Await(t, "the end of the connection", func() bool { return proxy.Links() == 0 })
			} else if proxy.Links() != 1 {
				t.Error("the connection was given up")
			}
		})
	}
}

// hearsBeat says whether a heart-beat comes, the only thing that does after CONNECT. It beats itself, so as not to be given up
// meanwhile; if none is to come, it listens for a second only.
func (c *fake) hearsBeat(expected bool) bool {
	limit := time.Second
	if expected {
		limit = soon
	}
	for began := time.Now(); time.Since(began) < limit; c.say("\n") {
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			return false
		}
		b := make([]byte, 1)
		if n, err := c.Read(b); n == 1 || !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = c.SetReadDeadline(time.Time{}) // a connection that has ended is found out by who reads next
			return n == 1 && b[0] == '\n'
		}
	}
	_ = c.SetReadDeadline(time.Time{})
	return false
}

// Case 37 on ActiveMQ, which has no grace: an idle connection lives on. Where the machine stops for a second it does not, so
// another one may.
func TestHeartbeatsKeepTheConnection(t *testing.T) {
	t.Parallel()
	queue := brokertest.Queue(t)
	broker := activeMQ(t, stomp.Config{Heartbeat: 2 * time.Second})
	proxy := brokertest.Proxy(t, broker.Addr)
	var err error
	for range 5 {
		p := broker.Connected(t, proxy.Addr())
		proxy.Set(faultproxy.Faults{}) // counts from here on
		brokertest.Await(t, "heart-beats of both sides", func() bool {
			up, down := proxy.Carried()
			return up >= 4 && down >= 2 || proxy.Links() == 0
		})
		if err = p.Publish(t.Context(), brokertest.Texts(queue, "row ", 1), nil); err == nil {
			return
		}
	}
	t.Error(err)
}

// Cases 14 and 28: ActiveMQ stops for a while in the middle of a batch, as for a slow disk. Below the receipt's deadline
// that is no failure. Above it the batch is sent again, and what the old connection still finishes is at most one copy.
func TestPausedBroker(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t)
	for name, cfg := range strategies {
		for _, patient := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s patient %v", name, patient), func(t *testing.T) {
				cfg := cfg
				cfg.Heartbeat = -1
				if patient {
					cfg.ReceiptTimeout = 0
				}
				queue := brokertest.Queue(t)
				broker := target(address(mq.URL()), cfg)
				proxy := brokertest.Proxy(t, broker.Addr)
				p := broker.Connected(t, proxy.Addr())
				messages := brokertest.Texts(queue, "row ", 200)
				if err := mq.Pause(); err != nil {
					t.Fatal(err)
				}
				result := make(chan error, 1)
				go func() { result <- p.Publish(t.Context(), messages, nil) }()
				brokertest.Await(t, "frames at the broker", func() bool { up, _ := proxy.Carried(); return up > 50 })
				attempts := 1
				if !patient {
					failed := brokertest.PublishFailed(t, within(t, soon, func() error { return <-result }))
					if failed.Fault != jobs.FaultConnection || !strings.Contains(failed.Error(), "no receipt") {
						t.Errorf("%+v", failed)
					}
				}
				if err := mq.Resume(); err != nil {
					t.Fatal(err)
				}
				if patient {
					if err := <-result; err != nil {
						t.Fatal(err)
					}
				} else {
					brokertest.Await(t, "a batch to go through", func() bool {
						attempts++
						return brokertest.Connect(t.Context(), p) == nil && p.Publish(t.Context(), messages, nil) == nil
					})
				}
				copies := len(broker.Drain(t, queue)) - len(messages)
				if copies < 0 || copies > (attempts-1)*len(messages) {
					t.Errorf("%d copies of %d messages after %d attempts", copies, len(messages), attempts)
				}
			})
		}
	}
}
