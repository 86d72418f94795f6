package stomp_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/faultproxy"
	"modulo/jobs"
)

// strategies are the ways to confirm that most faults must be survived with.
var strategies = map[string]stomp.Config{
	"transaction": with(stomp.Transaction, 0),
	"receipt 1":   with(stomp.Receipt, 1),
	"receipt 16":  with(stomp.Receipt, 16),
}

// forStrategies runs the test with each of them.
func forStrategies(t *testing.T, test func(t *testing.T, cfg stomp.Config)) {
	t.Helper()
	for name, cfg := range strategies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, cfg)
		})
	}
}

// Case 5: a receipt that never comes on a living connection.
func TestNoReceipt(t *testing.T) {
	t.Parallel()
	forStrategies(t, func(t *testing.T, cfg stomp.Config) {
		addr, ended := fakeBroker(t, func(c *fake) {
			c.accept(classic)
			c.wait()
		})
		p := target(addr, cfg).Connected(t, addr)
		failed := publishFails(t, soon, p, brokertest.Texts("/queue/a", "row ", 10))
		if failed.Fault != jobs.FaultConnection || len(failed.Confirmed)+len(failed.Refused) > 0 ||
			!strings.Contains(failed.Error(), "no receipt within 5s") {
			t.Errorf("%+v", failed)
		}
		mustReset(t, ended)
	})
}

// Case 6: a receipt that comes after its deadline confirms nothing, least of all on a later connection.
func TestLateReceipt(t *testing.T) {
	t.Parallel()
	forStrategies(t, func(t *testing.T, cfg stomp.Config) {
		late := make(chan string, 1) // the receipt that the first connection asked for
		addr, _ := fakeBroker(t, func(c *fake) {
			c.accept(classic)
			select {
			case id := <-late: // second connection: the late receipt, then silence
				c.receipt(id)
			default:
				late <- awaitReceiptWish(c)
			}
			c.wait()
		})
		p := target(addr, cfg).Connected(t, addr)
		messages := brokertest.Texts("/queue/a", "row ", 1)
		publishFails(t, soon, p, messages)
		if err := brokertest.Connect(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if failed := publishFails(t, soon, p, messages); len(failed.Confirmed) > 0 {
			t.Errorf("confirmed by a receipt for another connection: %+v", failed)
		}
	})
}

// awaitReceiptWish reads up to a frame that wants a receipt and returns the id.
func awaitReceiptWish(c *fake) string {
	for {
		f := c.next()
		if f == nil {
			return ""
		}
		if id, wanted := f.Header.Contains(frame.Receipt); wanted {
			return id
		}
	}
}

// Case 7: receipts that nobody asked for, that come twice, without an id, with an odd one or in another order.
func TestOddReceipts(t *testing.T) {
	t.Parallel()
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept("")
		for range 2 {
			var ids []string
			for range 4 {
				f := c.until(frame.SEND)
				if f == nil {
					return
				}
				ids = append(ids, f.Header.Get(frame.Receipt))
			}
			c.say("RECEIPT\n\n\x00RECEIPT\nreceipt-id:-1\n\n\x00RECEIPT\nreceipt-id:x\n\n\x00RECEIPT\nreceipt-id:\n\n\x00")
			c.say("MESSAGE\nreceipt-id:" + ids[1] + "\n\n\x00")
			c.receipt("0")
			c.receipt("99999999")
			c.receipt("18446744073709551615")
			c.receipt("18446744073709551616")
			slices.Reverse(ids)
			for _, id := range ids[:3] {
				c.receipt(id)
				c.receipt(id)
			}
		}
		c.wait()
	})
	p := target(addr, with(stomp.Receipt, 4)).Connected(t, addr)
	messages := brokertest.Texts("/queue/a", "row ", 4)
	failed := publishFails(t, soon, p, messages)
	if !slices.Equal(failed.Confirmed, []int{1, 2, 3}) || len(failed.Refused) > 0 {
		t.Errorf("%+v", failed)
	}
}

// A second RECEIPT for the batch before does not confirm anything of the next one.
func TestReceiptOfTheBatchBefore(t *testing.T) {
	t.Parallel()
	forStrategies(t, func(t *testing.T, cfg stomp.Config) {
		addr, _ := fakeBroker(t, func(c *fake) {
			c.accept(classic)
			id := awaitReceiptWish(c)
			c.receipt(id)
			awaitReceiptWish(c)
			c.receipt(id)
			c.wait()
		})
		p := target(addr, cfg).Connected(t, addr)
		messages := brokertest.Texts("/queue/a", "row ", 1)
		if err := p.Publish(t.Context(), messages, nil); err != nil {
			t.Fatal(err)
		}
		if failed := publishFails(t, soon, p, messages); len(failed.Confirmed) > 0 {
			t.Errorf("%+v", failed)
		}
	})
}

// Case 8: a broker that writes its receipts only after it has read everything, in one go.
func TestBurstOfReceipts(t *testing.T) {
	t.Parallel()
	const n = 10_000
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept("")
		var answer strings.Builder
		for range n {
			f := c.until(frame.SEND)
			if f == nil {
				return
			}
			fmt.Fprintf(&answer, "RECEIPT\nreceipt-id:%s\n\n\x00\n", f.Header.Get(frame.Receipt))
		}
		c.say(answer.String())
		c.wait()
	})
	p := target(addr, stomp.Config{Confirm: stomp.Receipt, Window: n}).Connected(t, addr)
	if err := p.Publish(t.Context(), brokertest.Texts("/queue/a", "row ", n), nil); err != nil {
		t.Fatal(err)
	}
}

// Case 8, the other way round: a broker that reads nothing more until somebody reads what it has to say.
func TestBrokerThatWritesBeforeItReads(t *testing.T) {
	t.Parallel()
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept("")
		f := c.until(frame.SEND)
		if f == nil {
			return
		}
		c.say(strings.Repeat("RECEIPT\nreceipt-id:0\n\n\x00\n", 1<<18))
		for f != nil {
			c.receipt(f.Header.Get(frame.Receipt))
			f = c.until(frame.SEND)
		}
	})
	messages := brokertest.Texts("/queue/a", "row ", 200)
	for i := range messages {
		messages[i].Body = make([]byte, 100_000)
		messages[i].Binary = true
	}
	p := target(addr, stomp.Config{Confirm: stomp.Receipt}).Connected(t, addr)
	if err := p.Publish(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
}

// Case 13: everything reaches ActiveMQ, nothing comes back.
func TestSilentFromTheBroker(t *testing.T) {
	t.Parallel()
	forStrategies(t, func(t *testing.T, cfg stomp.Config) {
		queue := brokertest.Queue(t)
		broker := activeMQ(t, cfg)
		proxy := brokertest.Proxy(t, broker.Addr)
		p := broker.Connected(t, proxy.Addr())
		messages := brokertest.Texts(queue, "row ", 5)
		proxy.Set(faultproxy.Faults{Down: faultproxy.Flow{Drop: true}})
		if failed := publishFails(t, soon, p, messages); failed.Fault != jobs.FaultConnection || len(failed.Confirmed) > 0 {
			t.Errorf("%+v", failed)
		}
		proxy.Set(faultproxy.Faults{})
		attempts := 1
		brokertest.Await(t, "a batch to go through", func() bool { // a slow disk may keep its receipt beyond the deadline
			attempts++
			return brokertest.Connect(t.Context(), p) == nil && p.Publish(t.Context(), messages, nil) == nil
		})
		repeats := len(broker.Drain(t, queue)) - len(messages)
		if repeats < 0 || repeats > (attempts-1)*len(messages) {
			t.Errorf("%d repeats of %d messages after %d attempts", repeats, len(messages), attempts)
		}
	})
}

// Nothing is left of a publisher whose connections ended in every way. Not parallel: it counts goroutines.
func TestNothingIsLeft(t *testing.T) {
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept(classic)
		if id := awaitReceiptWish(c); id == "1" {
			c.receipt(id)
			c.until(frame.DISCONNECT)
		}
	})
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for range 50 {
		p := target(addr, stomp.Config{}).Connected(t, addr)
		if err := p.Publish(t.Context(), brokertest.Texts("/queue/a", "row ", 1), nil); err != nil {
			t.Fatal(err)
		}
		_ = p.Close() // the fake answers no goodbye
	}
	brokertest.Await(t, "the end of goroutines and connections", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
}
