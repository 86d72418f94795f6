package local_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/go-stomp/stomp/v3"

	"modulo/internal/local"
)

func startActiveMQ(t *testing.T, cfg local.ActiveMQConfig) *local.ActiveMQ {
	t.Helper()
	cfg.Dir, cfg.QuickStart = serverDir(t), true
	mq, err := local.StartActiveMQ(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, mq.Stop()) })
	return mq
}

func dial(t *testing.T, mq *local.ActiveMQ, options ...func(*stomp.Conn) error) *stomp.Conn {
	t.Helper()
	address, err := url.Parse(mq.URL())
	must(t, err)
	conn, err := stomp.Dial("tcp", address.Host, options...)
	must(t, err)
	t.Cleanup(func() { _ = conn.MustDisconnect() }) // the broker may be gone
	return conn
}

func send(conn *stomp.Conn, queue, body string) error {
	return conn.Send(queue, "text/plain", []byte(body), stomp.SendOpt.Receipt, stomp.SendOpt.Header("persistent", "true"))
}

// browse returns the body of the first message of a queue and leaves it there.
func browse(t *testing.T, mq *local.ActiveMQ, queue string) string {
	t.Helper()
	conn := dial(t, mq)
	subscription, err := conn.Subscribe(queue, stomp.AckClient)
	must(t, err)
	message := <-subscription.C
	must(t, message.Err)
	must(t, conn.MustDisconnect()) // without an acknowledgement
	return string(message.Body)
}

func TestActiveMQKeepsPersistentMessages(t *testing.T) {
	t.Parallel()
	mq := startActiveMQ(t, local.ActiveMQConfig{})
	must(t, send(dial(t, mq), "/queue/kept", "precious"))
	checkStates(t, mq, func() {
		t.Helper()
		if got := browse(t, mq, "/queue/kept"); got != "precious" {
			t.Errorf("kept %q", got)
		}
	})
}

func TestActiveMQPause(t *testing.T) {
	t.Parallel()
	mq := startActiveMQ(t, local.ActiveMQConfig{Unsafe: true})
	checkPause(t, mq, mq.Ping)
	checkCrash(t, mq)
}

func TestActiveMQUsersAndPermissions(t *testing.T) {
	t.Parallel()
	mq := startActiveMQ(t, local.ActiveMQConfig{
		Users: []local.User{{Name: "writer", Password: `a"<&:secret`, Groups: "writers"}, {Name: "reader", Password: "b", Groups: "readers"}},
		Permissions: []local.Permission{
			{Name: ">", Read: "readers", Write: "writers", Admin: "readers,writers"},
			{Topic: true, Name: ">", Read: "readers,writers", Write: "readers,writers", Admin: "readers,writers"},
		},
	})
	must(t, send(dial(t, mq, stomp.ConnOpt.Login("writer", `a"<&:secret`)), "/queue/q", "allowed"))
	if send(dial(t, mq, stomp.ConnOpt.Login("reader", "b")), "/queue/q", "not allowed") == nil {
		t.Error("a reader could write")
	}
	address, err := url.Parse(mq.URL())
	must(t, err)
	if _, err := stomp.Dial("tcp", address.Host, stomp.ConnOpt.Login("writer", "guess")); err == nil {
		t.Error("a wrong password was accepted")
	}
}

func TestActiveMQFullStore(t *testing.T) {
	t.Parallel()
	mq := startActiveMQ(t, local.ActiveMQConfig{Unsafe: true, StoreLimit: 2 << 20, FailIfNoSpace: true})
	conn := dial(t, mq)
	sent, body := 0, strings.Repeat("x", 100<<10)
	for ; sent < 100; sent++ {
		if send(conn, "/queue/full", body) != nil {
			break
		}
	}
	if sent < 5 || sent > 25 {
		t.Errorf("a store of 2 MiB took %d messages of 100 KiB", sent)
	}
}

func TestActiveMQFrameLimit(t *testing.T) {
	t.Parallel()
	mq := startActiveMQ(t, local.ActiveMQConfig{Unsafe: true, MaxFrameSize: 64 << 10})
	must(t, send(dial(t, mq), "/queue/q", strings.Repeat("x", 60<<10)))
	if send(dial(t, mq), "/queue/q", strings.Repeat("x", 70<<10)) == nil {
		t.Error("a frame beyond the limit was accepted")
	}
}

func TestActiveMQThatCannotStartTellsWhy(t *testing.T) {
	t.Parallel()
	_, err := local.StartActiveMQ(t.Context(), local.ActiveMQConfig{Dir: serverDir(t), KahaDB: []local.Attribute{{Name: "colour", Value: "red"}}})
	if err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("error without the broker's own words: %v", err)
	}
}

func TestActiveMQStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := local.StartActiveMQ(ctx, local.ActiveMQConfig{Dir: serverDir(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestActiveMQNotInstalled(t *testing.T) {
	t.Setenv("ACTIVEMQ_HOME", "/nonexistent")
	if _, err := local.StartActiveMQ(t.Context(), local.ActiveMQConfig{Dir: serverDir(t)}); !errors.Is(err, local.ErrNotInstalled) {
		t.Errorf("error %v, want %v", err, local.ErrNotInstalled)
	}
	t.Setenv("PATH", "/nonexistent")
	t.Setenv("JAVA_HOME", "")
	if _, err := local.StartActiveMQ(t.Context(), local.ActiveMQConfig{Dir: serverDir(t)}); !errors.Is(err, local.ErrNotInstalled) {
		t.Errorf("error %v, want %v", err, local.ErrNotInstalled)
	}
}
