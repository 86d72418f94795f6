package stomp_test

import (
	"strings"
	"testing"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/jobs"
)

// Case 48: what is known to go wrong with go-stomp's own connections must not with ours. TestLateReceipt, TestLogin
// (descriptors of refused logins), TestHeartbeats (a broker that sends none) and TestAnswersToConnect (a port that says
// nothing) belong here too.

// A connection that the broker closes while a batch is sent, before, during or after its writing: the error comes at
// once, not after the receipt's deadline. go-stomp PR #88 and its race of close and send.
func TestCloseRacesPublish(t *testing.T) {
	t.Parallel()
	addr, _ := fakeBroker(t, func(c *fake) { c.accept(classic) })
	for range 300 {
		for _, cfg := range []stomp.Config{{}, {Confirm: stomp.Receipt}} {
			p := target(addr, cfg).Connected(t, addr)
			failed := publishFails(t, soon, p, brokertest.Texts("/queue/a", "row ", 10))
			if failed.Fault != jobs.FaultConnection {
				t.Fatalf("%+v", failed)
			}
		}
	}
}

// The broker's words are in the error even if they come while nobody waits for an answer, or right before it closes the
// connection: go-stomp loses them.
func TestLastWordsAreHeard(t *testing.T) {
	t.Parallel()
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept(classic)
		c.until(frame.BEGIN)
		c.say("ERROR\nmessage:disk full\n\n\x00")
	})
	for range 50 {
		p := target(addr, stomp.Config{}).Connected(t, addr)
		failed := publishFails(t, soon, p, brokertest.Texts("/queue/a", "row ", 10))
		if !strings.Contains(failed.Error(), "disk full") {
			t.Fatalf("%+v", failed)
		}
	}
}

// A goodbye that the broker does not answer ends all the same: go-stomp issue #122.
func TestCloseWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	addr, ended := fakeBroker(t, func(c *fake) {
		c.accept(classic)
		for c.next() != nil {
		}
		c.wait()
	})
	p := target(addr, stomp.Config{}).Connected(t, addr)
	if err := within(t, soon, p.Close); err == nil {
		t.Error("no error")
	}
	mustReset(t, ended)
	if err := brokertest.Connect(t.Context(), p); err != nil {
		t.Error(err)
	}
}

// One write for a batch: go-stomp writes once per frame.
func TestBatchIsOneWrite(t *testing.T) {
	t.Parallel()
	reads := make(chan int, 1)
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept(classic)
		n, buffer := 0, make([]byte, 1<<20)
		for total := 0; total == 0 || !strings.Contains(string(buffer[:total]), "COMMIT\n"); n++ {
			read, err := c.Read(buffer[total:])
			if err != nil {
				return
			}
			total += read
		}
		reads <- n
		c.receipt("1")
		c.wait()
	})
	p := target(addr, stomp.Config{}).Connected(t, addr)
	if err := p.Publish(t.Context(), brokertest.Texts("/queue/a", "row ", 100), nil); err != nil {
		t.Fatal(err)
	}
	if n := <-reads; n > 2 {
		t.Errorf("a batch of 100 small messages came in %d pieces", n)
	}
}
