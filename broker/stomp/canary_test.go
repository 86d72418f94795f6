package stomp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/stomp"
	"modulo/internal/local"
	"modulo/internal/testservers"
)

func canary(t *testing.T, cfg stomp.Config, host stomp.Host) (stomp.Canary, error) {
	t.Helper()
	cfg.Hosts = []stomp.Host{host}
	b, err := stomp.New(patient(cfg))
	if err != nil {
		t.Fatal(err)
	}
	return b.Canary(t.Context())
}

// A canary comes back as what a worker's messages are, from either way of confirming, beside others, and leaves nothing.
func TestCanary(t *testing.T) {
	t.Parallel()
	mq := testservers.Broker(t)
	prefix := "canary.test."
	target := activeMQ(t, stomp.Config{})
	for _, confirm := range []stomp.Confirm{stomp.Transaction, stomp.Receipt} {
		c, err := canary(t, stomp.Config{Confirm: confirm, TokenPrefix: prefix}, stomp.Host{Address: address(mq.URL())})
		if err != nil || !c.Persistent || !c.Text || c.Skew != 0 || c.Took <= 0 {
			t.Errorf("%s: %+v, %v", confirm, c, err)
		}
		if left := target.Browse(t, c.Queue); len(left) > 0 {
			t.Errorf("%s: left behind: %+v", confirm, left)
		}
	}
}

// A login without rights on the queue is told apart from a broker that is not there, and a broker of another kind is left
// alone.
func TestCanaryDenied(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t, local.ActiveMQConfig{
		Users: []local.User{{Name: "app", Password: "app", Groups: "apps"}, {Name: "writer", Password: "w", Groups: "writers"}},
		Permissions: []local.Permission{
			{Name: "modulo.token.>", Read: "apps", Write: "apps,writers", Admin: "apps,writers"},
			{Name: "events.>", Read: "apps", Write: "apps,writers", Admin: "apps,writers"},
			{Topic: true, Name: "ActiveMQ.Advisory.>", Read: "apps,writers", Write: "apps,writers", Admin: "apps,writers"},
		},
	})
	host := stomp.Host{Address: address(mq.URL()), Username: "writer", Password: "w"}
	if _, err := canary(t, stomp.Config{}, host); !stomp.IsDenied(err) {
		t.Errorf("may not read: %v", err)
	}
	if _, err := canary(t, stomp.Config{TokenPrefix: "elsewhere."}, host); !stomp.IsDenied(err) {
		t.Errorf("may not write: %v", err)
	}
	// What could be sent and not read is taken by its own reader only: a young one may be in use.
	if c, err := canary(t, stomp.Config{}, stomp.Host{Address: host.Address, Username: "app", Password: "app"}); err != nil || !c.Persistent {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := canary(t, stomp.Config{}, stomp.Host{Address: "127.0.0.1:1"}); err == nil || stomp.IsDenied(err) {
		t.Errorf("no broker: %v", err)
	}
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept(rabbitMQ)
		c.receipt(c.until("DISCONNECT").Header.Get("receipt"))
	})
	if _, err := canary(t, stomp.Config{}, stomp.Host{Address: addr}); !errors.Is(err, stomp.ErrNoCanary) {
		t.Errorf("RabbitMQ: %v", err)
	}
}

// What the broker does to a message shows.
func TestCanaryTells(t *testing.T) {
	t.Parallel()
	ahead := time.Now().Add(time.Hour)
	for headers, want := range map[string]stomp.Canary{
		"persistent:true\n":                                                {Persistent: true, Text: true},
		"content-length:LENGTH\npersistent:true\n":                         {Persistent: true},
		fmt.Sprintf("persistent:false\ntimestamp:%d\n", ahead.UnixMilli()): {Text: true, Skew: time.Hour},
		"timestamp:1000\n":                                                 {Text: true, Skew: -50 * 365 * 24 * time.Hour},
	} {
		addr, _ := fakeBroker(t, func(c *fake) {
			c.accept(classic)
			body := string(c.until(frame.SEND).Body)
			c.receipt(c.until(frame.COMMIT).Header.Get(frame.Receipt))
			subscription := c.until(frame.SUBSCRIBE)
			c.receipt(subscription.Header.Get(frame.Receipt))
			id := strings.Split(subscription.Header.Get("selector"), "'")[1]
			c.say("MESSAGE\nsubscription:canary\nevent_id:somebody else's\n\n\x00")
			c.say("MESSAGE\nsubscription:canary\nevent_id:" + id + "\n" + strings.Replace(headers, "LENGTH", fmt.Sprint(len(body)), 1) + "\n" + body + "\x00")
			c.wait()
		})
		got, err := canary(t, stomp.Config{}, stomp.Host{Address: addr})
		if err != nil || got.Persistent != want.Persistent || got.Text != want.Text {
			t.Errorf("%q: %+v, %v", headers, got, err)
		}
		if off := got.Skew - want.Skew; want.Skew >= 0 && off.Abs() > time.Minute || want.Skew < 0 && got.Skew > want.Skew {
			t.Errorf("%q: skew %s, want %s", headers, got.Skew, want.Skew)
		}
	}
}
