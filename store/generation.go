package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// stateWorkersSQL makes a stated K known and asks for a change to it, unless it is the one stated last or another change is
// under way. What changes K is recorded as the doing of the instance. $1 job, $2 K, $3 the instance.
const stateWorkersSQL = `with stated as (
  update modulo.jobs
  set stated_workers = $2::int, next_workers = nullif($2::int, workers)
  where job = $1::text and stated_workers is distinct from $2::int and (next_workers is null or next_workers = $2::int)
  returning job, workers
), recorded as (
  insert into modulo.audit (who, action, job, target, reason, result, affected, ended_at)
  select $3::text, '` + string(ActionChangeWorkers) + `', job, workers || ' -> ' || $2::int || ' workers', 'stated at its start, by flag or file',
    '` + string(ResultDone) + `', 1, clock_timestamp()
  from stated where workers <> $2::int
)
select from stated`

const statedSQL = `select stated_workers is not distinct from $2::int from modulo.jobs where job = $1::text`

// state makes known the numbers of workers that were stated for this process. What a change under way keeps it from
// is left for the next tick.
func (i *instance) state(ctx context.Context, conn *pgx.Conn) error {
	var waiting []*jobs.Job
	for _, job := range i.wishes {
		changed, err := conn.Exec(ctx, stateWorkersSQL, job.Name, job.Workers, i.describe())
		stated := err == nil && changed.RowsAffected() > 0
		if err == nil && !stated {
			err = conn.QueryRow(ctx, statedSQL, job.Name, job.Workers).Scan(&stated)
		}
		if err != nil {
			return fmt.Errorf("state %d workers of %s: %w", job.Workers, job.Name, err)
		}
		if !stated {
			waiting = append(waiting, job)
		}
	}
	i.wishes = waiting
	return nil
}

// describe names the instance in the audit.
func (i *instance) describe() string { return fmt.Sprintf("instance %s pid %d", i.host, os.Getpid()) }

// switchAll begins the next generation of the jobs that wait for it and have no owner left, and nothing to settle.
func (v *view) switchAll(ctx context.Context, conn *pgx.Conn) (switched bool, err error) {
	for _, j := range v.jobs {
		if j.next == 0 || j.owned() > 0 || j.open() > 0 {
			continue
		}
		if err := switchGeneration(ctx, conn, j.name); err != nil {
			return false, fmt.Errorf("change %s to %d workers: %w", j.name, j.next, err)
		}
		switched = true
	}
	return switched, nil
}

const lockChangeSQL = `select generation from modulo.jobs where job = $1::text and next_workers is not null for update`

const anyOwnerSQL = `select exists (
  select from modulo.workers as w
  where w.job = $1::text and w.generation = $2::bigint and (w.owner is not null or ` + openSQL + `))`

// nextGenerationSQL replaces the workers of a generation by those of the next. Whether one of them left a pass
// unfinished concerns all that share its rows now. $1 job, $2 generation.
const nextGenerationSQL = `with old as (
  delete from modulo.workers where job = $1::text and generation = $2::bigint returning unfinished
), job as (
  update modulo.jobs set generation = generation + 1, workers = next_workers, next_workers = null
  where job = $1::text
  returning generation, workers
)
insert into modulo.workers (job, generation, number, unfinished)
select $1::text, job.generation, generate_series(0, job.workers - 1), (select coalesce(bool_or(unfinished), false) from old)
from job`

// switchGeneration begins the next generation if no worker of this one has an owner or something to settle. The lock on
// the job's row is what acquiring workers waits for, so that none gets an owner in between.
func switchGeneration(ctx context.Context, conn beginner, job string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var generation int64
		err := tx.QueryRow(ctx, lockChangeSQL, job).Scan(&generation)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // somebody else has done it
		}
		var owned bool
		if err == nil {
			err = tx.QueryRow(ctx, anyOwnerSQL, job, generation).Scan(&owned) // a statement of its own: it must see what the lock waited for
		}
		if err == nil && !owned {
			_, err = tx.Exec(ctx, nextGenerationSQL, job, generation)
		}
		return err
	})
}

// beginner is a connection or a pool.
type beginner interface {
	Begin(context.Context) (pgx.Tx, error)
}
