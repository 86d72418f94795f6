package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// load are rows that were inserted and that nobody sees yet, in a transaction as an application has it.
type load struct {
	tx   pgx.Tx
	last int64 // highest id
}

const fillSQL = `
with inserted as (
  insert into modulo.outbox (destination, payload)
  select $1, repeat('x', $2) from generate_series(1, $3::int)
  returning id
)
select max(id) from inserted`

// fill inserts rows into the table. Commit makes them visible, all at once.
func (s *stage) fill(ctx context.Context, rows, payload int) (*load, error) {
	tx, err := s.db.Begin(ctx)
	if err != nil {
		return nil, err
	}
	l := &load{tx: tx}
	if err := tx.QueryRow(ctx, fillSQL, s.queue(), payload, rows).Scan(&l.last); err != nil {
		return nil, errors.Join(fmt.Errorf("fill the table: %w", err), tx.Rollback(context.Background()))
	}
	return l, nil
}

func (l *load) commit(ctx context.Context) error { return l.tx.Commit(ctx) }

// reset empties the table, and has the database write what it has to write, so that it does not during the measurement.
func (s *stage) reset(ctx context.Context) error {
	if _, err := s.db.Exec(ctx, "truncate modulo.outbox"); err != nil {
		return err
	}
	if s.pg == nil {
		return nil // a checkpoint is not ours to ask for
	}
	_, err := s.db.Exec(ctx, "checkpoint")
	return err
}

// doneInterval is how often the table is looked at; each look costs it some 50 µs.
const doneInterval = 10 * time.Millisecond

// awaitDone returns when no row is pending.
func (s *stage) awaitDone(ctx context.Context, last int64, workers int) error {
	tick := time.NewTicker(doneInterval)
	defer tick.Stop()
	for {
		if done, err := s.done(ctx, last, workers); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// done says whether no row is pending. Workers go by id, so the last rows of each come first: few and cheap.
func (s *stage) done(ctx context.Context, last int64, workers int) (bool, error) {
	pending := 0
	err := s.db.QueryRow(ctx, "select count(*) from modulo.outbox where id > $1 and done_at is null", last-int64(workers)).Scan(&pending)
	if err == nil && pending == 0 {
		err = s.db.QueryRow(ctx, "select count(*) from modulo.outbox where done_at is null").Scan(&pending)
	}
	return pending == 0, err
}
