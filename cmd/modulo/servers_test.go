package main

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/jackc/pgx/v5"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// fixture is modulo between a database of the test's own and a broker.
type fixture struct {
	shell
	db    *pgx.Conn // beside modulo
	mq    *local.ActiveMQ
	queue string // "/queue/..." with a name of the test's own; more can be made by appending to it
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	url := testservers.Database(t)
	f := fixtureOn(t, url, testservers.Broker(t))
	f.env["DATABASE_URL"] = testservers.Seen(t, url)
	return f
}

func fixtureOn(t testing.TB, databaseURL string, mq *local.ActiveMQ) *fixture {
	t.Helper()
	f := &fixture{mq: mq, db: testservers.Connect(t, databaseURL), queue: "/queue/" + strings.ReplaceAll(t.Name(), "/", ".")}
	f.shell = shell{t: t, env: map[string]string{"DATABASE_URL": databaseURL, "MODULO_BROKER_URL": mq.URL()}}
	return f
}

// exec runs statements beside modulo.
func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	if len(args) == 0 {
		args = []any{pgx.QueryExecModeSimpleProtocol}
	}
	if _, err := f.db.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

// one returns the one value of a query.
func one[T any](f *fixture, sql string, args ...any) T {
	f.t.Helper()
	var value T
	if err := f.db.QueryRow(f.t.Context(), sql, args...).Scan(&value); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
	return value
}

const pendingSQL = "select count(*) from modulo.outbox where done_at is null"

// drained waits until no row of modulo.outbox is pending.
func (f *fixture) drained() {
	f.t.Helper()
	await(f.t, "all rows done", func() bool { return one[int](f, pendingSQL) == 0 })
}

// taken returns what a queue of the shared broker holds, in order, and empties it.
func (f *fixture) taken(queue string) []*stomp.Message {
	f.t.Helper()
	return take(f.t, f.mq, queue)
}

// take empties a queue: it sends a message of its own and reads up to that one.
func take(t testing.TB, mq *local.ActiveMQ, queue string, login ...func(*stomp.Conn) error) []*stomp.Message {
	t.Helper()
	address, err := url.Parse(mq.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := stomp.Dial("tcp", address.Host, login...)
	if err != nil {
		t.Fatal(err)
	}
	const last = "the last message"
	persistent := stomp.SendOpt.Header("persistent", "true") // others overtake those that are
	if err := conn.Send(queue, "text/plain", []byte(last), stomp.SendOpt.Receipt, persistent); err != nil {
		t.Fatal(err)
	}
	subscription, err := conn.Subscribe(queue, stomp.AckAuto)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.MustDisconnect() }() // a goodbye would wait for messages that nobody reads
	var all []*stomp.Message
	for late := time.After(patience); ; {
		select {
		case message := <-subscription.C:
			if message.Err != nil {
				t.Fatal(message.Err)
			}
			if string(message.Body) == last {
				return all
			}
			all = append(all, message)
		case <-late:
			t.Fatalf("%s: no end in sight after %d messages", queue, len(all))
		}
	}
}

// headers returns one header of each message.
func headers(messages []*stomp.Message, name string) []string {
	values := make([]string, len(messages))
	for i, m := range messages {
		values[i] = m.Header.Get(name)
	}
	return values
}
