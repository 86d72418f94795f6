package stomp_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/faultproxy"
	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// Case 15: a port that accepts and then says nothing, or anything.
func TestAnswersToConnect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, answer string
		fault        jobs.Fault
		want         string // in the error
	}{
		{"silence", "", jobs.FaultConnection, "no answer within 5s"},
		{"heart-beats only", "\n\n\n", jobs.FaultConnection, "no answer within 5s"},
		{"half an answer", "CONNECTED\nversion:1.2\n", jobs.FaultConnection, "no answer within 5s"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", jobs.FaultConfiguration, "HTTP/1.1 400"},
		{"garbage", "\xff\xfe\x00garbage\n", jobs.FaultConfiguration, "not STOMP"},
		{"TLS", "\x15\x03\x01\x00\x02\x02\x0a\n", jobs.FaultConfiguration, "use stomp+tls://"},
		{"4 GiB", "ERROR\ncontent-length:4294967295\n\n", jobs.FaultConfiguration, "content-length"},
		{"endless line", strings.Repeat("a", 1<<20), jobs.FaultConfiguration, "not STOMP"},
		{"endless headers", "CONNECTED\n" + strings.Repeat("a:b\n", 1<<18), jobs.FaultConfiguration, "not STOMP"},
		{"another frame", "RECEIPT\nreceipt-id:1\n\n\x00", jobs.FaultConfiguration, "RECEIPT"},
		{"no version", "CONNECTED\n\n\x00", jobs.FaultConfiguration, "no STOMP 1.2"},
		{"old version", "CONNECTED\nversion:1.1\n\n\x00", jobs.FaultConfiguration, "1.1"},
		{"odd heart-beat", "CONNECTED\nversion:1.2\nheart-beat:soon\n\n\x00", jobs.FaultConfiguration, "heart-beat"},
		{"refused login", "ERROR\nmessage:who are you?\n\n\x00", jobs.FaultConfiguration, "who are you?"},
		{"no room", "ERROR\nmessage:x\n\njavax.jms.ResourceAllocationException: full\n\x00", jobs.FaultBroker, "full"},
		{"stopping", "ERROR\n\norg.apache.activemq.broker.BrokerStoppedException: bye\n\x00", jobs.FaultConnection, "bye"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr, _ := fakeBroker(t, func(c *fake) {
				c.until(frame.CONNECT)
				c.say(test.answer)
				c.wait()
			})
			p := target(addr, stomp.Config{ConnectTimeout: deadline, Heartbeat: time.Second}).Open(t, addr)
			err := within(t, soon, func() error { return brokertest.Connect(t.Context(), p) })
			failed := brokertest.ConnectFailed(t, err)
			if failed.Fault != test.fault || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s fault: %v", failed.Fault, err)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestConnectToNobody(t *testing.T) {
	t.Parallel()
	addr, _ := fakeBroker(t, func(*fake) {}) // accepts and closes
	proxy := brokertest.Proxy(t, addr)
	if err := proxy.Close(); err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]string{"closes": addr, "refuses": proxy.Addr(), "no such host": "broker.invalid:61613"} {
		p := target(addr, stomp.Config{}).Open(t, addr)
		if failed := brokertest.ConnectFailed(t, brokertest.Connect(t.Context(), p)); failed.Fault != jobs.FaultConnection {
			t.Errorf("%s: %v", name, failed)
		}
	}
}

// Case 39: a list with a dead host, one that accepts nothing and a living one; the last good host is tried first.
func TestHostList(t *testing.T) {
	t.Parallel()
	closes, _ := fakeBroker(t, func(*fake) {})
	var asked atomic.Int32
	silent, _ := fakeBroker(t, func(c *fake) {
		asked.Add(1)
		c.wait()
	})
	living, _ := fakeBroker(t, func(c *fake) {
		c.accept(classic)
		c.wait()
	})
	proxy := brokertest.Proxy(t, living)
	cfg := stomp.Config{ConnectTimeout: deadline}
	for _, addr := range []string{closes, silent, proxy.Addr()} {
		cfg.Hosts = append(cfg.Hosts, stomp.Host{Address: addr, Username: "me", Password: "secret"})
	}
	b, err := stomp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := b.Publisher(nil)
	if err := brokertest.Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	proxy.CutAll(faultproxy.RST)
	brokertest.Await(t, "end of the connection", func() bool { return proxy.Links() == 0 })
	if err := brokertest.Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the silent host was asked %d times, want once: the last good one comes first", n)
	}
	if err := proxy.Close(); err != nil {
		t.Fatal(err)
	}
	brokertest.Await(t, "a refused Connect", func() bool { err = brokertest.Connect(t.Context(), p); return err != nil })
	for _, want := range []string{closes, silent, proxy.Addr()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(b.String(), "secret") {
		t.Error("the password is in an error or in String")
	}
}

// A context that ends while hosts are tried ends the trying.
func TestConnectContext(t *testing.T) {
	t.Parallel()
	addr, _ := fakeBroker(t, func(c *fake) { c.wait() })
	p := target(addr, stomp.Config{ConnectTimeout: time.Minute}).Open(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := within(t, soon, func() error { return brokertest.Connect(ctx, p) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestConfirmByServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		server  string
		confirm stomp.Confirm
		atomic  bool
		refused bool
	}{
		{classic, stomp.Auto, true, false},
		{classic, stomp.Receipt, false, false},
		{artemis, stomp.Auto, false, false},
		{artemis, stomp.Transaction, false, true},
		{rabbitMQ, stomp.Auto, false, false},
		{rabbitMQ, stomp.Transaction, false, true},
		{"", stomp.Auto, false, false},
		{"other/1", stomp.Auto, false, false},
		{"other/1", stomp.Transaction, true, false},
	} {
		addr, _ := fakeBroker(t, func(c *fake) {
			c.accept(test.server)
			c.wait()
		})
		p := target(addr, with(test.confirm, 1)).Open(t, addr)
		err := brokertest.Connect(t.Context(), p)
		if test.refused {
			if failed := brokertest.ConnectFailed(t, err); failed.Fault != jobs.FaultConfiguration ||
				!strings.Contains(err.Error(), "set confirm to auto or receipt") {
				t.Errorf("%s with %s: %v", test.confirm, test.server, err)
			}
		} else if err != nil || p.Atomic() != test.atomic {
			t.Errorf("%s with %s: atomic %v, %v", test.confirm, test.server, p.Atomic(), err)
		}
	}
}

// Case 21, as far as it goes without Artemis: what it needs is in the frames.
func TestArtemisHeaders(t *testing.T) {
	t.Parallel()
	sent := make(chan *frame.Frame, 1)
	addr, _ := fakeBroker(t, func(c *fake) {
		c.accept(artemis)
		f := c.until(frame.SEND)
		sent <- f
		c.receipt(f.Header.Get(frame.Receipt))
		c.wait()
	})
	p := target(addr, stomp.Config{}).Connected(t, addr)
	if err := p.Publish(t.Context(), brokertest.Texts("/queue/a", "row ", 1), nil); err != nil {
		t.Fatal(err)
	}
	f := <-sent
	for name, want := range map[string]string{
		"destination": "a", "destination-type": "ANYCAST", "persistent": "true", "_AMQ_DUPL_ID": "row 0", "event_id": "row 0",
	} {
		if got := f.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// Artemis reads CONNECT by the book, without escapes; others read them. A login with a backslash works on both.
func TestLoginWithBackslash(t *testing.T) {
	t.Parallel()
	const password = `pa\ss:w\nrd`
	for name, accepted := range map[string]string{"by the book": password, "with escapes": `pa\\ss:w\\nrd`} {
		addr, _ := fakeBroker(t, func(c *fake) {
			text := readHead(c)
			if strings.Contains(text, "\nlogin:me\npasscode:"+accepted+"\n") {
				c.say("CONNECTED\nversion:1.2\n\n\x00")
			} else {
				c.say("ERROR\nmessage:wrong password\n\n\x00")
			}
			c.wait()
		})
		b, err := stomp.New(stomp.Config{Hosts: []stomp.Host{{Address: addr, Username: "me", Password: password}}})
		if err != nil {
			t.Fatal(err)
		}
		p := b.Publisher(nil)
		if err := brokertest.Connect(t.Context(), p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = p.Close() // the fake answers no goodbye
	}
}

// readHead reads up to NUL, raw.
func readHead(c net.Conn) string {
	var text strings.Builder
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil || b[0] == 0 {
			return text.String()
		}
		text.Write(b)
	}
}

// Case 18: logins on ActiveMQ, among them those with the bytes that STOMP escapes.
func TestLogin(t *testing.T) {
	t.Parallel()
	passwords := []string{"plain", "with:colon", `back\slash`, `\n\c\\`, "two words", "Zürich 💶", "line\nfeed"}
	var users []local.User
	for i, password := range passwords {
		users = append(users, local.User{Name: string(rune('a' + i)), Password: password, Groups: "users"})
	}
	mq := testservers.OwnBroker(t, local.ActiveMQConfig{Users: users})
	proxy := brokertest.Proxy(t, address(mq.URL())) // only to count connections
	connect := func(user, password string) (jobs.Publisher, error) {
		cfg := stomp.Config{Hosts: []stomp.Host{{Address: proxy.Addr(), Username: user, Password: password}}}
		b, err := stomp.New(patient(cfg))
		if err != nil {
			t.Fatal(err)
		}
		p := b.Publisher(nil)
		return p, brokertest.Connect(t.Context(), p)
	}
	for _, user := range users {
		p, err := connect(user.Name, user.Password)
		if err != nil {
			t.Errorf("password %q: %v", user.Password, err)
			continue
		}
		if err := p.Publish(t.Context(), brokertest.Texts("/queue/login", "row ", 1), nil); err != nil {
			t.Errorf("password %q: %v", user.Password, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, login := range [][2]string{{"a", "wrong"}, {"nobody", "plain"}, {"", ""}} {
		told := 0
		for range 30 {
			_, err := connect(login[0], login[1])
			failed := brokertest.ConnectFailed(t, err)
			if failed.Fault == jobs.FaultConfiguration {
				told++
			} else if !strings.Contains(err.Error(), "closed by the broker") || strings.Contains(err.Error(), "wrong") {
				t.Fatalf("login %q: %v", login, err)
			}
		}
		if told == 0 { // ActiveMQ may close the connection before it has said why, the busier the more often
			t.Errorf("login %q: no explanation in 30 times", login)
		}
	}
	brokertest.Await(t, "the end of the connections of 90 refused logins", func() bool { return proxy.Links() == 0 })
}

// descriptors counts the open files and sockets of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
