package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// FailureState says what happens to a failed row next.
type FailureState string

const (
	StateFailed    FailureState = "failed"    // waits for a person
	StateRetrying  FailureState = "retrying"  // is tried again by itself
	StateDiscarded FailureState = "discarded" // its worker marks it done without sending
)

// FailureFilter picks records of one job; empty fields pick all. Limit and After make pages in the order of row ids.
type FailureFilter struct {
	Job   string // required
	Class jobs.Class
	IDs   []int64
	Since time.Time // failed (last) at this time or later
	Key   string
	State FailureState
	Limit int    // of List only; 0: all
	After *int64 // of List only: the last row id of the page before
}

// FailureRecord is a row of modulo.failures.
type FailureRecord struct {
	Job           string
	RowID         int64
	Key           *string // null: the job shards by id, or the row has no key
	EventID       string
	State         FailureState
	Attempts      int
	NextAttemptAt time.Time
	FailedAt      *time.Time // attempts are used up
	Class         jobs.Class
	Error         string
	Delivered     bool // the broker has the message; only the done mark is missing
	DiscardedAt   *time.Time
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// ErrNoFailure says that there is no record of the row.
var ErrNoFailure = errors.New("row has no failure record")

const stateSQL = `case when failed_at is not null then 'failed'
  when discarded_at is not null then 'discarded' else 'retrying' end`

// failureCondition picks what a FailureFilter says: $1 job, $2 class, $3 ids, $4 since, $5 key, $6 state.
const failureCondition = `job = $1
  and ($2::text is null or error_class = $2)
  and ($3::bigint[] is null or row_id = any($3))
  and ($4::timestamptz is null or updated_at >= $4)
  and ($5::text is null or key = $5)
  and ($6::text is null or ` + stateSQL + ` = $6)`

const failureColumns = `job, row_id, key, event_id, ` + stateSQL + `, attempts, next_attempt_at, failed_at,
  error_class, last_error, delivered, discarded_at, created_at, updated_at`

const listFailuresSQL = `select ` + failureColumns + `
from modulo.failures
where ` + failureCondition + ` and ($7::bigint is null or row_id > $7)
order by row_id
limit $8`

const countFailuresSQL = `select count(*) from modulo.failures where ` + failureCondition

const getFailureSQL = `select ` + failureColumns + ` from modulo.failures where job = $1 and row_id = $2`

// retryFailuresSQL leaves alone what was discarded, unless its mark was refused and a person tries that again.
const retryFailuresSQL = `update modulo.failures
set attempts = 0, failed_at = null, next_attempt_at = now(), updated_at = now()
where ` + failureCondition + ` and (discarded_at is null or failed_at is not null)`

// discardFailuresSQL only asks for it: the worker that owns the row marks it done and removes the record.
const discardFailuresSQL = `update modulo.failures
set discarded_at = now(), failed_at = null, next_attempt_at = now(), updated_at = now()
where ` + failureCondition + ` and (discarded_at is null or failed_at is not null)`

func (f FailureFilter) arguments() []any {
	return []any{f.Job, nullIfZero(string(f.Class)), f.IDs, nullIfZero(f.Since), nullIfZero(f.Key), nullIfZero(string(f.State))}
}

// nullIfZero makes an empty field of a filter SQL's null.
func nullIfZero[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// ListFailures returns the records in the order of row ids.
func (db *DB) ListFailures(ctx context.Context, f FailureFilter) ([]FailureRecord, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, listFailuresSQL, append(f.arguments(), f.After, nullIfZero(int64(f.Limit)))...)
	if err != nil {
		return nil, fmt.Errorf("list failures %s: %w", f.Job, err)
	}
	records, err := pgx.CollectRows(rows, scanFailure)
	if err != nil {
		return nil, fmt.Errorf("list failures %s: %w", f.Job, err)
	}
	return records, nil
}

// CountFailures counts the records that the filter picks.
func (db *DB) CountFailures(ctx context.Context, f FailureFilter) (int, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var n int
	if err := db.pool.QueryRow(ctx, countFailuresSQL, f.arguments()...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count failures %s: %w", f.Job, err)
	}
	return n, nil
}

// GetFailure returns the record of one row; ErrNoFailure where there is none.
func (db *DB) GetFailure(ctx context.Context, job string, rowID int64) (FailureRecord, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, getFailureSQL, job, rowID)
	if err != nil {
		return FailureRecord{}, fmt.Errorf("get failure %s/%d: %w", job, rowID, err)
	}
	record, err := pgx.CollectExactlyOneRow(rows, scanFailure)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoFailure
	}
	if err != nil {
		return FailureRecord{}, fmt.Errorf("get failure %s/%d: %w", job, rowID, err)
	}
	return record, nil
}

// RetryFailures makes the rows due now, with all their attempts before them, and returns how many. A row that was
// delivered is only marked, not sent again.
func (db *DB) RetryFailures(ctx context.Context, f FailureFilter) (int, error) {
	return db.changeFailures(ctx, "retry failures", retryFailuresSQL, f)
}

// DiscardFailures gives rows up and returns how many: their workers mark them done without sending them.
func (db *DB) DiscardFailures(ctx context.Context, f FailureFilter) (int, error) {
	return db.changeFailures(ctx, "discard failures", discardFailuresSQL, f)
}

func (db *DB) changeFailures(ctx context.Context, doing, statement string, f FailureFilter) (int, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	changed, err := db.pool.Exec(ctx, statement, f.arguments()...)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", doing, f.Job, err)
	}
	return int(changed.RowsAffected()), nil
}

func scanFailure(row pgx.CollectableRow) (r FailureRecord, err error) {
	err = row.Scan(&r.Job, &r.RowID, &r.Key, &r.EventID, &r.State, &r.Attempts, &r.NextAttemptAt, &r.FailedAt, &r.Class, &r.Error,
		&r.Delivered, &r.DiscardedAt, &r.CreatedAt, &r.UpdatedAt)
	return r, err
}
