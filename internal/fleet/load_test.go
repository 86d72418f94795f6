package fleet

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// queueCount is how many queues the rows go to. It shares no divisor with most numbers of workers, so that every worker sends
// to every queue.
const queueCount = 3

// content is what the row with an id says. Texts have what protocols have to escape, and are of different length.
type content struct{ queue, kind, key, tenant, payload string }

func (l *load) content(id int64) content {
	c := content{
		queue:   l.queues[id%queueCount],
		kind:    fmt.Sprintf("Event%d", id%7),
		key:     fmt.Sprintf("customer:%d", id%100),
		payload: fmt.Sprintf("%d a:b\\c \"d\"\n%s", id, strings.Repeat("ä€", int(id%50))),
	}
	if id%10 == 0 {
		c.tenant = `north:east\1`
	}
	return c
}

// insertRows gives the rows the ids that follow, as nobody else inserts and no insert fails.
const insertRows = `
insert into modulo.outbox (destination, type, key, payload, headers)
select '/queue/' || queue, kind, key, payload, case when tenant <> '' then jsonb_build_object('tenant', tenant) end
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as r (queue, kind, key, payload, tenant)`

// load inserts rows at a steady rate until stopped.
type load struct {
	t        *testing.T
	queues   []string
	cancel   context.CancelFunc
	done     chan struct{}
	inserted int           // valid once done
	took     time.Duration // as well
	err      error
}

func insert(t *testing.T, databaseURL string) *load {
	t.Helper()
	conn := connect(t, databaseURL)
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, cancel: cancel, done: make(chan struct{})}
	for n := range queueCount {
		l.queues = append(l.queues, fmt.Sprintf("fleet.%s.%d", strings.ReplaceAll(t.Name(), "/", "."), n))
	}
	go func() { // stop, or the cleanup below, waits for it
		defer close(l.done)
		l.err = l.run(ctx, conn)
	}()
	t.Cleanup(func() { cancel(); <-l.done })
	return l
}

const insertsPerSecond = 20

// run inserts what is due. After a delay it catches up, by a second's rows at most.
func (l *load) run(ctx context.Context, conn *pgx.Conn) error {
	ticker := time.NewTicker(time.Second / insertsPerSecond)
	defer ticker.Stop()
	began := time.Now()
	defer func() { l.took = time.Since(began) }()
	missed := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		due := int(time.Since(began).Seconds()*float64(*rate)) - l.inserted - missed
		if due > *rate {
			missed += due - *rate
			due = *rate
		}
		if err := l.insert(context.WithoutCancel(ctx), conn, due); err != nil {
			return err
		}
	}
}

func (l *load) insert(ctx context.Context, conn *pgx.Conn, rows int) error {
	var columns [5][]string
	for id := int64(l.inserted + 1); id <= int64(l.inserted+rows); id++ {
		c := l.content(id)
		for i, value := range []string{c.queue, c.kind, c.key, c.payload, c.tenant} {
			columns[i] = append(columns[i], value)
		}
	}
	if _, err := conn.Exec(ctx, insertRows, columns[0], columns[1], columns[2], columns[3], columns[4]); err != nil {
		return err
	}
	l.inserted += rows
	return nil
}

// stop returns how many rows were inserted.
func (l *load) stop() int {
	l.t.Helper()
	l.cancel()
	<-l.done
	if l.err != nil {
		l.t.Fatalf("load: %v", l.err)
	}
	return l.inserted
}

// perSecond is the rate that the machine let the load have.
func (l *load) perSecond() float64 { return float64(l.inserted) / l.took.Seconds() }
