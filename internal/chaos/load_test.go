package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"modulo/internal/programtest"
)

// pace is how a load comes: a transaction of so many rows at every tick, unless there is a backlog.
type pace struct {
	every   time.Duration
	rows    int
	backlog int // no insert while so many rows are pending; 0: no limit
}

// load is an application: it inserts rows one transaction after the other, so that ids commit in order, and goes on
// after each trouble of the database.
type load struct {
	stage *stage
	total int
	pace

	mu                sync.Mutex
	inserted, pending int
}

// insertRows takes the prefix of the queues and the first and last number of the rows. Texts have what protocols
// have to escape, and are of different length.
const insertRows = `
insert into modulo.outbox (destination, type, key, payload, headers)
select '/queue/' || $1 || '.' || n % 3, 'Event' || n % 7, 'customer:' || n % 100,
  n || E' a:b\\c "d"\n' || repeat('ä€😀', n % 50),
  case when n % 10 = 0 then '{"tenant": "north:east\\1"}'::jsonb end
from generate_series($2::int, $3::int) as n`

// errUndurable says that the stage itself is broken: the database lost rows whose commit it had confirmed.
var errUndurable = errors.New("the database lost committed rows")

// run inserts all rows and returns when none is pending any more.
func (l *load) run(ctx context.Context) error {
	for {
		err := l.session(ctx)
		refused, answered := errors.AsType[*pgconn.PgError](err)
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, errUndurable):
			return err
		case answered && refused.Code[:2] != "57": // operator intervention: shutdown, start
			return err
		}
		if err := programtest.Pause(ctx, l.every); err != nil {
			return err
		}
	}
}

// session is run on one connection. A transaction whose outcome got lost with the connection before either is in the
// table or is not: the rows are counted.
func (l *load) session(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, l.stage.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var inserted int
	if err := conn.QueryRow(ctx, `select count(*) from modulo.outbox`).Scan(&inserted); err != nil {
		return err
	}
	if confirmed, _ := l.progress(); inserted < confirmed {
		return fmt.Errorf("%w: %d of %d", errUndurable, confirmed-inserted, confirmed)
	}
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		var pending int
		if err := conn.QueryRow(ctx, countPending).Scan(&pending); err != nil {
			return err
		}
		l.note(inserted, pending)
		if inserted >= l.total && pending == 0 {
			return nil
		}
		if next := min(inserted+l.rows, l.total); next > inserted && (l.backlog == 0 || pending < l.backlog) {
			if _, err := conn.Exec(ctx, insertRows, l.stage.prefix, inserted+1, next); err != nil {
				return err
			}
			l.note(next, pending+next-inserted)
			inserted = next
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *load) note(inserted, pending int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inserted, l.pending = inserted, pending
}

func (l *load) progress() (inserted, pending int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inserted, l.pending
}

// done is how many rows are marked, as far as the load knows.
func (l *load) done() int {
	inserted, pending := l.progress()
	return inserted - pending
}

// begin runs the load beside a test; finish lets it insert no further row and returns when all are done.
func (l *load) begin(t testing.TB) (finish func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return func() {
		t.Helper()
		if err := stop(); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("load: %v", err)
		}
		programtest.Within(t, programtest.Patience, "all rows are done", func() (bool, error) { return l.stage.count(t, countPending) == 0, nil })
	}
}
