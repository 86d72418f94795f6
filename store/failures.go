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
	// Pattern is a FailureGroup's; Contains is a part of the reason, in any case.
	Pattern, Contains string
	Until             time.Time // failed (last) at this time or earlier
	Limit             int       // of List only; 0: all
	After             *int64    // of List only: the last row id of the page before
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

// patternSQL is the reason of a failure without what differs from row to row, so that those of one cause are the same text.
const patternSQL = `regexp_replace(left(last_error, 300),
  '[[:xdigit:]]{8}(-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}|[[:digit:]]+', '#', 'g')`

// failureCondition picks what a FailureFilter says: $1 job, $2 class, $3 ids, $4 since, $5 key, $6 state, $7 pattern,
// $8 part of the reason, $9 until, $10 the row id to begin after.
const failureCondition = `job = $1
  and ($2::text is null or error_class = $2)
  and ($3::bigint[] is null or row_id = any($3))
  and ($4::timestamptz is null or updated_at >= $4)
  and ($5::text is null or key = $5)
  and ($6::text is null or ` + stateSQL + ` = $6)
  and ($7::text is null or ` + patternSQL + ` = $7)
  and ($8::text is null or position(lower($8) in lower(last_error)) > 0)
  and ($9::timestamptz is null or updated_at <= $9)
  and ($10::bigint is null or row_id > $10)`

const failureColumns = `job, row_id, key, event_id, ` + stateSQL + `, attempts, next_attempt_at, failed_at,
  error_class, last_error, delivered, discarded_at, created_at, updated_at`

const listFailuresSQL = `select ` + failureColumns + `
from modulo.failures
where ` + failureCondition + `
order by row_id
limit $11`

const countFailuresSQL = `select count(*) from modulo.failures where ` + failureCondition

const getFailureSQL = `select ` + failureColumns + ` from modulo.failures where job = $1 and row_id = $2`

func (f FailureFilter) arguments() []any {
	return []any{
		f.Job, nullIfZero(string(f.Class)), f.IDs, nullIfZero(f.Since), nullIfZero(f.Key), nullIfZero(string(f.State)),
		nullIfZero(f.Pattern), nullIfZero(f.Contains), nullIfZero(f.Until), f.After,
	}
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
	rows, err := db.pool.Query(ctx, listFailuresSQL, append(f.arguments(), nullIfZero(int64(f.Limit)))...)
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
	f.After = nil
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

func scanFailure(row pgx.CollectableRow) (r FailureRecord, err error) {
	err = row.Scan(&r.Job, &r.RowID, &r.Key, &r.EventID, &r.State, &r.Attempts, &r.NextAttemptAt, &r.FailedAt, &r.Class, &r.Error,
		&r.Delivered, &r.DiscardedAt, &r.CreatedAt, &r.UpdatedAt)
	return r, err
}
