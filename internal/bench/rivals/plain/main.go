// Command plain drains modulo.outbox as teams write it today: workers take rows by `for update skip locked`, send each and
// wait for its receipt, and mark the batch done in the same transaction.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"rivals/line"
)

const batch = 1000

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	settings, err := line.Read()
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(settings.Database)
	if err != nil {
		return err
	}
	config.MaxConns = int32(settings.Workers)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	conns, err := settings.Connect()
	if err != nil {
		return err
	}
	o := &outbox{pool, conns, settings.Queue}
	err = line.Serve(ctx, os.Stdin, os.Stdout, line.Commands{
		"drain": func(ctx context.Context, _ []int) error { return o.drain(ctx) },
		"work":  func(ctx context.Context, ms []int) error { return o.work(ctx, time.Duration(ms[0])*time.Millisecond) },
	})
	for _, conn := range conns {
		err = errors.Join(err, conn.Disconnect())
	}
	return err
}

// outbox drains with a goroutine per connection.
type outbox struct {
	pool  *pgxpool.Pool
	conns []*stomp.Conn
	queue string
}

const clock = 500 * time.Millisecond

// work drains whenever the clock ticks.
func (o *outbox) work(ctx context.Context, length time.Duration) error {
	tick := time.NewTicker(clock)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
		if err := o.drain(ctx); err != nil {
			return err
		}
	}
	return o.drain(ctx)
}

func (o *outbox) drain(ctx context.Context) error {
	problems := make([]error, len(o.conns))
	var working sync.WaitGroup
	for i, conn := range o.conns {
		working.Go(func() {
			for more := true; more && problems[i] == nil; {
				more, problems[i] = o.pass(ctx, conn)
			}
		})
	}
	working.Wait()
	return errors.Join(problems...)
}

// pass takes, sends and marks one batch, in one transaction.
func (o *outbox) pass(ctx context.Context, conn *stomp.Conn) (more bool, err error) {
	err = pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select id, event_id::text, payload from modulo.outbox where done_at is null order by id
limit $1 for update skip locked`, batch)
		if err != nil {
			return err
		}
		events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[event])
		if err != nil || len(events) == 0 {
			return err
		}
		more = true
		ids := make([]int64, len(events))
		for i, e := range events {
			ids[i] = e.ID
			if err := line.Send(conn, o.queue, e.EventID, e.Payload); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "update modulo.outbox set done_at = clock_timestamp() where id = any($1)", ids)
		return err
	})
	return more, err
}

type event struct {
	ID      int64
	EventID string
	Payload []byte
}
