package testservers_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

func TestMain(m *testing.M) { os.Exit(testservers.Main(m)) }

func TestDatabasesAreSeparateAndDropped(t *testing.T) {
	t.Parallel()
	maintenance := connect(t, testservers.EmptyDatabase(t))
	var names []string
	t.Run("in use", func(t *testing.T) {
		for _, fresh := range []func(testing.TB) string{testservers.EmptyDatabase, testservers.EmptyDatabase} {
			conn := connect(t, fresh(t))
			if _, err := conn.Exec(t.Context(), "create table mine()"); err != nil {
				t.Error(err)
			}
			names = append(names, conn.Config().Database)
		}
	})
	var left int
	err := maintenance.QueryRow(t.Context(), "select count(*) from pg_database where datname = any($1)", names).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d of the databases %v are left, %v", left, names, err)
	}
}

func TestDatabaseIsMigrated(t *testing.T) {
	t.Parallel()
	for range 2 {
		conn := connect(t, testservers.Database(t))
		if _, err := conn.Exec(t.Context(), "insert into modulo.outbox(payload) values ('x')"); err != nil {
			t.Error(err)
		}
	}
}

// connect leaves the connection open at the end of the test: dropping the database has to cope.
func connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestOwnServersDiffer(t *testing.T) {
	t.Parallel()
	own, shared := testservers.OwnBroker(t), testservers.Broker(t)
	if own.URL() == shared.URL() || shared != testservers.Broker(t) {
		t.Errorf("own %s, shared %s", own.URL(), shared.URL())
	}
	pg := testservers.OwnPostgres(t)
	if err := pg.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConsumeShowsWhatJavaSees(t *testing.T) {
	t.Parallel()
	mq := testservers.Broker(t)
	stomp(t, mq,
		"SEND\ndestination:/queue/seen\npersistent:true\nevent_id:e-1\ncorrelation-id:c\ntype:Approved\nJMSXGroupID:k\n\n"+
			"\"quoted\" \\ \tZoë €\x01\n^",
		"SEND\ndestination:/queue/seen\npersistent:true\npriority:7\ncontent-length:3\n\n\x01^\xff^",
		"SEND\ndestination:/queue/seen\npersistent:true\n\nnot UTF-8: \xff^")
	got := testservers.Consume(t, mq, "seen", 3)
	if len(got) != 3 {
		t.Fatalf("consumed %d messages, want 3: %+v", len(got), got)
	}
	for i := range got {
		if got[i].MessageID == "" || got[i].Timestamp == 0 {
			t.Errorf("message %d has no id or time: %+v", i, got[i])
		}
		got[i].MessageID, got[i].Timestamp = "", 0
	}
	want := []testservers.Delivered{
		{Destination: "queue://seen", Class: "TextMessage", Persistent: true, Priority: 4, CorrelationID: "c", Type: "Approved",
			GroupID: "k", Text: "\"quoted\" \\ \tZoë €\x01\n",
			Properties: map[string]testservers.Property{"event_id": {Type: "String", Value: "e-1"}}},
		{Destination: "queue://seen", Class: "BytesMessage", Persistent: true, Priority: 7, Bytes: []byte("\x01\x00\xff"),
			Properties: map[string]testservers.Property{}},
		{Destination: "queue://seen", Class: "TextMessage", Persistent: true, Priority: 4,
			Unreadable: "javax.jms.JMSException: java.io.UTFDataFormatException", Properties: map[string]testservers.Property{}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("consumed\n%+v, want\n%+v", got, want)
	}
	if id := got[0].Property("event_id") + got[1].Property("event_id"); id != "e-1" {
		t.Errorf("event_id %q", id)
	}
	if left := testservers.Consume(t, mq, "seen", 0); len(left) != 0 {
		t.Errorf("consumed again: %+v", left)
	}
}

func TestConsumeFromSeveralQueues(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t, local.ActiveMQConfig{Users: []local.User{{Name: "app", Password: "secret", Groups: "apps"}}})
	send(t, mq, "CONNECT\naccept-version:1.2\nhost:x\nlogin:app\npasscode:secret\n\n^",
		"SEND\ndestination:/queue/one\n\nfirst^", "SEND\ndestination:/queue/two\n\nsecond^")
	got := testservers.ConsumeFrom(t, testservers.Consumption{
		URL: mq.OpenWireURL(), Queues: []string{"one", "two"}, User: "app", Password: "secret", Expected: 2,
	})
	bodies := map[string]string{}
	for _, d := range got {
		bodies[d.Destination] = d.Text
		if d.Persistent {
			t.Errorf("shown as persistent: %+v", d)
		}
	}
	if want := map[string]string{"queue://one": "first", "queue://two": "second"}; !reflect.DeepEqual(bodies, want) {
		t.Errorf("consumed %v, want %v", bodies, want)
	}
}

func stomp(t *testing.T, mq *local.ActiveMQ, frames ...string) {
	t.Helper()
	send(t, mq, append([]string{"CONNECT\naccept-version:1.2\nhost:x\n\n^"}, frames...)...)
}

// send writes frames as they are, with ^ for NUL, and returns when the broker has taken them all.
func send(t *testing.T, mq *local.ActiveMQ, frames ...string) {
	t.Helper()
	conn, err := net.Dial("tcp", address(t, mq.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text := strings.ReplaceAll(strings.Join(frames, "")+"DISCONNECT\nreceipt:end\n\n^", "^", "\x00")
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	for answers := bufio.NewScanner(conn); answers.Scan(); {
		switch strings.Trim(answers.Text(), "\x00") {
		case "ERROR":
			t.Fatal("the broker refused a frame")
		case "receipt-id:end":
			return
		}
	}
	t.Fatal("no receipt")
}

func address(t *testing.T, broker string) string {
	t.Helper()
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestAuthorityIsTrustedByThoseWhoKnowIt(t *testing.T) {
	t.Parallel()
	authority := testservers.NewAuthority(t)
	config := authority.Broker("127.0.0.1", time.Hour)
	config.TrustStore = authority.TrustStore()
	broker := address(t, testservers.OwnBroker(t, local.ActiveMQConfig{TLS: config}).TLSURL())

	known := x509.NewCertPool()
	text, err := os.ReadFile(authority.File)
	if err != nil || !known.AppendCertsFromPEM(text) {
		t.Fatalf("certificate of the authority: %v", err)
	}
	pair, err := tls.LoadX509KeyPair(authority.Client("app"))
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := hello(t.Context(), broker, &tls.Config{RootCAs: known, Certificates: []tls.Certificate{pair}}); answer != "CONNECTED\n" {
		t.Errorf("with both certificates: %q, %v", answer, err)
	}
	if answer, err := hello(t.Context(), broker, &tls.Config{RootCAs: known}); err == nil {
		t.Errorf("without a client certificate: %q", answer)
	}
	answer, err := hello(t.Context(), broker, &tls.Config{})
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
		t.Errorf("without knowing the authority: %q, %v", answer, err)
	}
}

// hello connects over TLS and returns the first line of the answer.
func hello(ctx context.Context, broker string, config *tls.Config) (answer string, err error) {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", broker)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := io.WriteString(conn, "CONNECT\naccept-version:1.2\nhost:x\n\n\x00"); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}
