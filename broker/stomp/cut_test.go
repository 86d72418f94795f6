package stomp_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/faultproxy"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
	"modulo/jobs"
)

var ends = map[string]faultproxy.End{"FIN": faultproxy.FIN, "RST": faultproxy.RST}

// store is a fake broker that keeps what was committed, or sent outside of a transaction.
type store struct {
	mu   sync.Mutex
	kept []string
}

// serve speaks STOMP in as far as a publisher does.
func (s *store) serve(c *fake) {
	c.accept(classic)
	open := map[string][]string{} // bodies by transaction
	for {
		f := c.next()
		if f == nil {
			return
		}
		id, transacted := f.Header.Contains(frame.Transaction)
		switch {
		case f.Command == frame.SEND && transacted:
			open[id] = append(open[id], string(f.Body))
		case f.Command == frame.SEND:
			s.keep(string(f.Body))
		case f.Command == frame.COMMIT:
			s.keep(open[id]...)
		}
		if id, wanted := f.Header.Contains(frame.Receipt); wanted {
			c.receipt(id)
		}
	}
}

func (s *store) keep(bodies ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, bodies...)
}

// take returns what is kept and forgets it.
func (s *store) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.kept
	s.kept = nil
	return kept
}

// Cases 3 and 4: the connection is cut after every byte of a batch, and after every byte of its receipts.
func TestCutAtEveryByte(t *testing.T) {
	t.Parallel()
	const n = 3
	forStrategies(t, func(t *testing.T, cfg stomp.Config) {
		cfg.ReceiptTimeout, cfg.WriteTimeout = 0, 0 // nothing may wait for them
		s := &store{}
		addr, _ := fakeBroker(t, s.serve)
		proxy := brokertest.Proxy(t, addr)
		p := target(addr, cfg).Connected(t, proxy.Addr())
		messages := brokertest.Texts("/queue/a", "row ", n)
		up, down := batchBytes(t, proxy, p, messages)
		atomic := p.Atomic()
		for how, end := range ends {
			for after := range up {
				s.take()
				cut := faultproxy.Faults{Up: faultproxy.Flow{Cut: &faultproxy.Cut{After: after, How: end}}}
				failed := publishCut(t, proxy, p, messages, cut)
				if kept := s.take(); failed == nil || atomic && len(kept) > 0 || len(failed.Confirmed) > len(kept) {
					t.Fatalf("%s after byte %d of %d: %d kept, %+v", how, after, up, len(kept), failed)
				}
			}
			for after := range down {
				s.take()
				cut := faultproxy.Faults{Down: faultproxy.Flow{Cut: &faultproxy.Cut{After: after, How: end}}}
				failed := publishCut(t, proxy, p, messages, cut)
				if failed == nil && after < down-1 { // the last byte is a line feed behind the last receipt
					t.Fatalf("%s after byte %d of %d answered: no error", how, after, down)
				}
				if kept := s.take(); failed != nil && len(failed.Confirmed) > len(kept) {
					t.Fatalf("%s after byte %d of %d answered: %d kept, %+v", how, after, down, len(kept), failed)
				}
			}
		}
	})
}

// batchBytes publishes the messages and returns how many bytes that takes, and how many its answers have.
func batchBytes(t *testing.T, proxy *faultproxy.Proxy, p jobs.Publisher, messages []jobs.Message) (up, down int64) {
	t.Helper()
	proxy.Set(faultproxy.Faults{})
	if err := p.Publish(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
	return proxy.Carried()
}

// publishCut publishes on a connection that is cut underway; nil if it succeeds all the same.
func publishCut(t *testing.T, proxy *faultproxy.Proxy, p jobs.Publisher, messages []jobs.Message, cut faultproxy.Faults) *jobs.PublishError {
	t.Helper()
	proxy.Set(faultproxy.Faults{})
	if err := brokertest.Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	proxy.Set(cut)
	err := within(t, soon, func() error { return p.Publish(t.Context(), messages, nil) })
	if err == nil {
		brokertest.Await(t, "the cut", func() bool { return proxy.Links() == 0 })
		return nil
	}
	return brokertest.PublishFailed(t, err)
}

// Case 3 on ActiveMQ: no part of a transaction is ever visible. Samples, or every byte with MODULO_CHAOS=long.
func TestCutOnActiveMQ(t *testing.T) {
	t.Parallel()
	queue := brokertest.Queue(t)
	broker := activeMQ(t, stomp.Config{})
	proxy := brokertest.Proxy(t, broker.Addr)
	p := broker.Connected(t, proxy.Addr())
	up, _ := batchBytes(t, proxy, p, brokertest.Texts(queue, "first ", 4))
	step := programtest.ShortOrLong[int64](23, 1)
	for after := rand.Int64N(step); after < up; after += step {
		for how, end := range ends {
			cut := faultproxy.Faults{Up: faultproxy.Flow{Cut: &faultproxy.Cut{After: after, How: end}}}
			if publishCut(t, proxy, p, brokertest.Texts(queue, "third ", 4), cut) == nil {
				t.Errorf("%s after byte %d of %d: no error", how, after, up)
			}
		}
	}
	proxy.Set(faultproxy.Faults{})
	if err := brokertest.Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	last := brokertest.Texts(queue, "last ", 4)
	if err := p.Publish(t.Context(), last, nil); err != nil {
		t.Fatal(err)
	}
	brokertest.SameTexts(t, broker.Drain(t, queue), append(brokertest.Texts(queue, "first ", 4), last...))
}

// Case 45: bytes that come one by one change nothing.
func TestSplitIntoBytes(t *testing.T) {
	t.Parallel()
	queue := brokertest.Queue(t)
	broker := activeMQ(t, stomp.Config{})
	proxy := brokertest.Proxy(t, broker.Addr)
	proxy.Set(faultproxy.Faults{Up: faultproxy.Flow{Split: true}, Down: faultproxy.Flow{Split: true}})
	messages := brokertest.Texts(queue, "row ", 50)
	if err := broker.Connected(t, proxy.Addr()).Publish(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
	brokertest.SameTexts(t, broker.Drain(t, queue), messages)
}

// Cases 1, 2, 19 and 20: ActiveMQ is killed while batches are sent. Every error comes at once; what was confirmed
// is there after the restart, a transaction is there as a whole or not at all, and nothing else is there.
func TestKilledBroker(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t)
	kills := programtest.ShortOrLong(1, 20)
	forStrategiesInTurn(t, func(t *testing.T, cfg stomp.Config) {
		for range kills {
			queue := brokertest.Queue(t)
			broker := target(address(mq.URL()), cfg)
			proxy := brokertest.Proxy(t, broker.Addr)
			p := broker.Connected(t, proxy.Addr())
			const size = 20
			killed := make(chan time.Time, 1)
			var killing sync.WaitGroup
			killing.Go(func() {
				bytes, late := rand.Int64N(100_000), time.Now().Add(soon) // on a slow machine it comes earlier: until then nothing ends
				brokertest.Await(t, "traffic", func() bool { up, _ := proxy.Carried(); return up >= bytes || time.Now().After(late) })
				killed <- time.Now()
				mq.Kill()
			})
			var err error
			var batch, confirmed int
			for ; err == nil; batch++ {
				if err = p.Publish(t.Context(), brokertest.Texts(queue, fmt.Sprintf("%d ", batch), size), nil); err == nil {
					confirmed++
				}
			}
			if late := time.Since(<-killed); late > soon {
				t.Errorf("error %s after the kill: %v", late, err)
			}
			killing.Wait()
			failed := brokertest.PublishFailed(t, err)
			if err := brokertest.Connect(t.Context(), p); err == nil {
				t.Error("connected to a dead broker")
			}
			if err := mq.Start(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
			checkSurvivors(t, broker.Drain(t, queue), confirmed, size, p.Atomic(), failed)
		}
	})
}

// checkSurvivors compares what a killed broker has kept with what it had confirmed: whole batches, and some of the last.
func checkSurvivors(t *testing.T, got []brokertest.Received, confirmed, size int, atomic bool, failed *jobs.PublishError) {
	t.Helper()
	extra := len(got) - confirmed*size
	if extra < len(failed.Confirmed) || extra > size || atomic && extra != 0 && extra != size {
		t.Errorf("%d messages are left, %d batches of %d confirmed and %+v", len(got), confirmed, size, failed)
	}
	for i, r := range got {
		if want := fmt.Sprintf("%d %d", i/size, i%size); r.Text() != want {
			t.Fatalf("message %d is %q, want %q", i, r.Text(), want)
		}
		if r.Headers["persistent"] != "true" {
			t.Fatalf("message %d is not persistent", i)
		}
	}
}

// forStrategiesInTurn is forStrategies for tests that share a broker they break.
func forStrategiesInTurn(t *testing.T, test func(t *testing.T, cfg stomp.Config)) {
	t.Helper()
	for name, cfg := range strategies {
		cfg.ReceiptTimeout, cfg.WriteTimeout = 0, 0
		t.Run(name, func(t *testing.T) { test(t, cfg) })
	}
}

// Case 2: ActiveMQ has got the COMMIT, its receipt is held back, and it is killed.
func TestKilledBeforeTheReceiptArrives(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t)
	queue := brokertest.Queue(t)
	broker := target(address(mq.URL()), stomp.Config{})
	proxy := brokertest.Proxy(t, broker.Addr)
	p := broker.Connected(t, proxy.Addr())
	messages := brokertest.Texts(queue, "row ", 20)
	proxy.Set(faultproxy.Faults{Down: faultproxy.Flow{Stall: true}})
	result := make(chan error, 1)
	go func() { result <- p.Publish(t.Context(), messages, nil) }()
	brokertest.Await(t, "the message at the broker", func() bool {
		up, _ := proxy.Carried()
		return up > 1000
	})
	mq.Kill()
	proxy.CutAll(faultproxy.RST) // the stalled direction hands on nothing by itself
	failed := brokertest.PublishFailed(t, within(t, soon, func() error { return <-result }))
	if failed.Fault != jobs.FaultConnection {
		t.Errorf("%+v", failed)
	}
	if err := mq.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := len(broker.Drain(t, queue)); n != 0 && n != len(messages) {
		t.Errorf("%d of %d messages are left", n, len(messages))
	}
}
