package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// ownedSQL says that worker $2 of job $1 has the owner with epoch $3. Epoch 0 stands for a worker that nobody owns.
const ownedSQL = `($3::bigint = 0 or exists (select from modulo.workers as w
    where w.job = $1::text and w.number = $2::int and w.epoch = $3::bigint and w.owner is not null))`

// claimTokenSQL returns the lineage that counts, and draws $4 where none was made yet; its newest serial that is known; and
// the timeline.
const claimTokenSQL = `insert into modulo.tokens as t (job, number, lineage)
select $1::text, $2::int, $4::text where ` + ownedSQL + `
on conflict (job, number) do update set
  lineage = case when t.made then t.lineage else excluded.lineage end,
  serial = case when t.made then t.serial end,
  noted_at = case when t.made then t.noted_at else clock_timestamp() end
returning lineage, made, coalesce(serial, 0)`

const tokenMadeSQL = `update modulo.tokens set made = true, problem = null, noted_at = clock_timestamp()
where job = $1::text and number = $2::int and lineage = $4::text and ` + ownedSQL

const reportTokenSQL = `update modulo.tokens set problem = $4::text, noted_at = clock_timestamp()
where job = $1::text and number = $2::int and problem is distinct from $4::text and ` + ownedSQL

// tokenHeldSQL says whether the worker still is its owner's, and takes back what was wrong with its token.
const tokenHeldSQL = `with cleared as (
  update modulo.tokens set problem = null, noted_at = clock_timestamp()
  where job = $1::text and number = $2::int and problem is not null and ` + ownedSQL + `
)
select ` + ownedSQL

const tokenSerialSQL = `update modulo.tokens set serial = $4::bigint, noted_at = clock_timestamp()
where job = $1::text and number = $2::int and ` + ownedSQL

// lineageLength is how many digits of a random number tell lineages apart.
const lineageLength = 12

// Claim returns the lineage whose token counts. Where none was made yet, it draws a new name. Like all that concerns the
// token it is fenced by the worker's epoch. The rows of this worker must come from the timeline that it returns.
func (w *WorkerRows) Claim(ctx context.Context) (claim jobs.TokenClaim, err error) {
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	fresh := uuid.NewString()
	fresh = fresh[len(fresh)-lineageLength:]
	err = w.source.db.pool.QueryRow(ctx, claimTokenSQL+", "+w.source.sql.timeline,
		w.source.sql.job, w.shard.Number, w.shard.Epoch, fresh).Scan(&claim.Lineage, &claim.Made, &claim.Serial, &claim.Timeline)
	if errors.Is(err, pgx.ErrNoRows) {
		err = jobs.ErrFenced
	}
	if err == nil {
		err = w.pin(claim.Timeline)
	}
	if err != nil {
		return jobs.TokenClaim{}, w.failed("claim token", err)
	}
	return claim, nil
}

// Made notes that the token of the lineage is in its queue.
func (w *WorkerRows) Made(ctx context.Context, name string) error {
	return w.noteToken(ctx, "note token", tokenMadeSQL, name)
}

// Sent notes the serial of a token that the broker has confirmed.
func (w *WorkerRows) Sent(ctx context.Context, serial int64) error {
	return w.noteToken(ctx, "note serial of token", tokenSerialSQL, serial)
}

// noteToken runs a statement that changes the token's row, unless the worker has another owner.
func (w *WorkerRows) noteToken(ctx context.Context, doing, statement string, value any) error {
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	changed, err := w.source.db.pool.Exec(ctx, statement, w.source.sql.job, w.shard.Number, w.shard.Epoch, value)
	if err == nil && changed.RowsAffected() == 0 {
		err = jobs.ErrFenced
	}
	if err != nil {
		return w.failed(doing, err)
	}
	return nil
}

// Held says that the token is in this worker's hands, and nothing is wrong with it.
func (w *WorkerRows) Held(ctx context.Context) error {
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	var owned bool
	err := w.source.db.pool.QueryRow(ctx, tokenHeldSQL, w.source.sql.job, w.shard.Number, w.shard.Epoch).Scan(&owned)
	if err == nil && !owned {
		err = jobs.ErrFenced
	}
	if err != nil {
		return w.failed("note token", err)
	}
	return nil
}

// Report notes what is wrong with the token.
func (w *WorkerRows) Report(ctx context.Context, problem string) error {
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	if _, err := w.source.db.pool.Exec(ctx, reportTokenSQL, w.source.sql.job, w.shard.Number, w.shard.Epoch, storable(problem)); err != nil {
		return w.failed("report token", err)
	}
	return nil
}

// TokenState is what is known of the token of one worker.
type TokenState struct {
	Number  int
	Lineage string
	Made    bool
	Problem string // empty: none
}

const tokensSQL = `select number, lineage, made, coalesce(problem, '') from modulo.tokens where job = $1::text order by number`

// Tokens lists the tokens of a job, those of workers beyond the present K too.
func (db *DB) Tokens(ctx context.Context, job string) ([]TokenState, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, tokensSQL, job)
	if err != nil {
		return nil, fmt.Errorf("tokens of %s: %w", job, err)
	}
	tokens, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TokenState])
	return tokens, wrap("tokens of "+job, err)
}
