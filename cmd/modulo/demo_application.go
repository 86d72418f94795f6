package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/go-stomp/stomp/v3"
	"github.com/jackc/pgx/v5"
)

// demoRate is how many events per second the demo's application inserts once it runs.
const demoRate = 500

// demoInvoices is how many invoices there are to begin with, and demoInvoiceRate how many come per second then.
const (
	demoInvoices    = 4000
	demoInvoiceRate = 30
)

var demoQueues = []string{"/queue/demo.orders", "/queue/demo.payments", "/queue/demo.shipments"}

// insertDemoEvents is what an application does in its own transaction: it inserts its events into the outbox.
const insertDemoEvents = `
insert into modulo.outbox (destination, type, key, payload)
select (array['/queue/demo.orders', '/queue/demo.payments', '/queue/demo.shipments'])[1 + n % 3],
       (array['OrderPlaced', 'PaymentReceived', 'OrderShipped'])[1 + n % 3],
       'customer-' || n % 100,
       json_build_object('number', n, 'amount', round((random() * 1000)::numeric, 2), 'currency', 'EUR')::text
from generate_series(1, $1::int) as n`

// demoApplication stands for the two ends around Modulo: what inserts events and what receives the messages. It talks
// to both servers by itself, so that what it counts does not depend on what it checks.
type demoApplication struct {
	db       *pgx.Conn
	mq       *stomp.Conn
	inserted int
	lost     chan error // a consumer's connection broke

	reading sync.WaitGroup
	lock    sync.Mutex
	seen    map[string]struct{} // event ids
	total   int
}

// tally is what the demo has seen so far.
type tally struct{ arrived, repeated, pending, failed int }

func openDemoApplication(ctx context.Context, databaseURL, brokerURL string) (*demoApplication, error) {
	db, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(brokerURL)
	if err != nil {
		return nil, errors.Join(err, db.Close(ctx))
	}
	mq, err := stomp.Dial("tcp", address.Host, stomp.ConnOpt.Logger(silent{}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the demo's consumer: %w", err), db.Close(ctx))
	}
	a := &demoApplication{db: db, mq: mq, seen: map[string]struct{}{}, lost: make(chan error, len(demoQueues))}
	for _, queue := range demoQueues {
		subscription, err := mq.Subscribe(queue, stomp.AckAuto)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the demo's consumer: %w", err), a.close())
		}
		a.reading.Go(func() { a.receive(subscription) })
	}
	return a, nil
}

func (a *demoApplication) insert(ctx context.Context, n int) error {
	if _, err := a.db.Exec(ctx, insertDemoEvents, n); err != nil {
		return fmt.Errorf("insert sample events: %w", err)
	}
	a.inserted += n
	return nil
}

func (a *demoApplication) receive(subscription *stomp.Subscription) {
	for message := range subscription.C {
		if message.Err != nil {
			a.lost <- message.Err
			return
		}
		a.lock.Lock()
		a.total++
		a.seen[message.Header.Get("event_id")] = struct{}{}
		a.lock.Unlock()
	}
}

func (a *demoApplication) tally() tally {
	a.lock.Lock()
	defer a.lock.Unlock()
	return tally{arrived: len(a.seen), repeated: a.total - len(a.seen)}
}

func (a *demoApplication) close() error {
	err := a.mq.MustDisconnect()
	a.reading.Wait()
	return errors.Join(err, a.db.Close(context.Background()))
}

// silent is a logger for go-stomp, which reports the end of a subscription that we ended ourselves.
type silent struct{}

func (silent) Debugf(string, ...any)   {}
func (silent) Infof(string, ...any)    {}
func (silent) Warningf(string, ...any) {}
func (silent) Errorf(string, ...any)   {}
func (silent) Debug(string)            {}
func (silent) Info(string)             {}
func (silent) Warning(string)          {}
func (silent) Error(string)            {}
