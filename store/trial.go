package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"modulo/jobs"
)

// trialLimits bound what the checks do in their transactions: a row that somebody holds, or a table without an index,
// must not hold up the start.
const trialLimits = `set local lock_timeout = '1s'; set local statement_timeout = '5s'`

// tryDone marks one pending row and looks whether it is still pending, in a transaction that is rolled back. Done that
// does not end pending would send every row again and again.
func (c *sourceCheck) tryDone(ctx context.Context, s *Source) error {
	var id int64
	var pending bool
	err := c.db.rolledBack(ctx, func(ctx context.Context, tx pgx.Tx) error {
		from := fmt.Sprintf("from %s as t where (\n%s\n)", s.sql.table, s.sql.where)
		find := fmt.Sprintf("select t.%s::bigint %s limit 1 for update skip locked", s.sql.id, from)
		if err := tx.QueryRow(ctx, find).Scan(&id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, s.mark, []int64{id}, id, id, 0); err != nil {
			return markError(err)
		}
		again := fmt.Sprintf("select exists (select %s and t.%s = $1::bigint)", from, s.sql.id)
		return tx.QueryRow(ctx, again, id).Scan(&pending)
	})
	_, refused := errors.AsType[*jobs.MarkRefused](err)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // nothing is pending: the next start tries it
	case hasCode(err, codeLockNotAvailable, codeQueryCanceled):
		c.warn("done.set", "start again when the table is less busy", "could not be tried: %s", message(err))
	case refused:
		c.warn("done.set", "correct the row, or the constraint or trigger that refuses it",
			"row %d cannot be marked done: %s", id, message(err))
	case IsUnreachable(err):
		return fmt.Errorf("try done.set: %w", err)
	case err != nil:
		c.fail("done.set", "correct it", "row %d cannot be marked done: %s", id, message(err))
	case pending:
		c.fail("done.set", "let it make source.where false",
			"row %d is still pending after %q: it would be sent again and again", id, c.job.Source.DoneSet)
	}
	return nil
}

// rolledBack runs try in a transaction that never commits.
func (db *DB) rolledBack(ctx context.Context, try func(context.Context, pgx.Tx) error) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, trialLimits, pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		err = try(ctx, tx)
	}
	_, answered := errors.AsType[*pgconn.PgError](err)
	if rollbackErr := tx.Rollback(ctx); !answered {
		err = errors.Join(err, rollbackErr)
	}
	return err
}
