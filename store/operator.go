package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// WorkersChange asks for another K.
type WorkersChange struct {
	Job          string
	Workers      int
	IfGeneration int64 // refused unless this generation is in force; 0: any
}

// GenerationError says that the K in force is not the one that was looked at.
type GenerationError struct {
	Job        string
	Have, Want int64
}

func (e *GenerationError) Error() string {
	return fmt.Sprintf("job %s is at generation %d, not %d: somebody else has changed its workers", e.Job, e.Have, e.Want)
}

func (e *GenerationError) refusal() {}

// errOvertaken says that somebody else has changed the job since it was looked at.
var errOvertaken = errors.New("somebody else was faster")

// changeSQL asks for another K; the first who asks wins. $1 job, $2 the generation that was looked at, $3 K.
const changeSQL = `update modulo.jobs set next_workers = $3::int
where job = $1::text and generation = $2::bigint and next_workers is null and workers <> $3::int`

// ChangeWorkers asks for another K, which comes into force once no worker of the present generation has an owner, and
// returns the state before. A *ChangingError says that another change is under way, a *GenerationError that the one in
// force is not the one that was meant.
func (o *Operator) ChangeWorkers(ctx context.Context, c WorkersChange) (Control, error) {
	k := c.Workers
	if k < 1 || k > jobs.MaxWorkers {
		return Control{}, fmt.Errorf("%d workers: not within 1 and %d", k, jobs.MaxWorkers)
	}
	for {
		before, err := o.db.Control(ctx, c.Job)
		if err != nil {
			return before, err
		}
		doing := act{ActionChangeWorkers, c.Job, fmt.Sprintf("%d -> %d workers", before.Workers, k)}
		switch {
		case c.IfGeneration != 0 && c.IfGeneration != before.Generation:
			return before, o.refused(ctx, doing, &GenerationError{c.Job, before.Generation, c.IfGeneration})
		case before.Next != 0 && before.Next != k:
			return before, o.refused(ctx, doing, &ChangingError{c.Job, before.Workers, before.Next})
		case before.Next == k, before.Workers == k:
			return before, nil
		}
		_, err = o.record(ctx, doing, func(ctx context.Context, tx pgx.Tx) (int64, error) {
			changed, err := exec(changeSQL, c.Job, before.Generation, k)(ctx, tx)
			if err == nil && changed == 0 {
				err = errOvertaken // no entry: what is tried next leaves one
			}
			return changed, err
		})
		if !errors.Is(err, errOvertaken) {
			return before, err
		}
	}
}

const changingSQL = `select generation, workers, coalesce(next_workers, 0) from modulo.jobs where job = $1::text for update`

const abortSQL = `update modulo.jobs set next_workers = null where job = $1::text and next_workers is not null`

// AbortChange takes a change of K back that is not yet in force; false if there was none. Only the one that is meant: a
// *ChangingError says that it is to another K than c.Workers, unless that is 0, a *GenerationError as with ChangeWorkers.
func (o *Operator) AbortChange(ctx context.Context, c WorkersChange) (bool, error) {
	doing := act{ActionAbortChange, c.Job, ""}
	if c.Workers != 0 {
		doing.target = fmt.Sprintf("-> %d workers", c.Workers)
	}
	aborted, err := o.record(ctx, doing, func(ctx context.Context, tx pgx.Tx) (int64, error) {
		var generation int64
		var workers, next int
		err := tx.QueryRow(ctx, changingSQL, c.Job).Scan(&generation, &workers, &next)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return 0, nil
		case err != nil:
			return 0, err
		case c.IfGeneration != 0 && c.IfGeneration != generation:
			return 0, &GenerationError{c.Job, generation, c.IfGeneration}
		case c.Workers != 0 && next != 0 && c.Workers != next:
			return 0, &ChangingError{c.Job, workers, next}
		}
		return exec(abortSQL, c.Job)(ctx, tx)
	})
	return aborted > 0, err
}

const pauseSQL = `update modulo.jobs set paused = $2::boolean where job = $1::text`

// Pause makes all instances begin no new batch of the job, or go on. False: the job was never run.
func (o *Operator) Pause(ctx context.Context, job string, paused bool) (bool, error) {
	action := ActionResume
	if paused {
		action = ActionPause
	}
	return o.update(ctx, act{action, job, ""}, pauseSQL, job, paused)
}

const triggerSQL = `update modulo.jobs set triggered = triggered + 1 where job = $1::text`

// Trigger makes every worker of the job begin a pass. False: the job was never run.
func (o *Operator) Trigger(ctx context.Context, job string) (bool, error) {
	return o.update(ctx, act{ActionTrigger, job, ""}, triggerSQL, job)
}

// resetTokensSQL lets tokens be made anew. $1 job, $2 worker or null for all, $3 whether also those without a problem.
const resetTokensSQL = `update modulo.tokens set made = false, serial = null, problem = null, noted_at = clock_timestamp()
where job = $1::text and made and ($2::int is null or number = $2::int) and ($3::boolean or problem is not null)`

// ResetTokens lets the owners make new tokens, and returns how many. With force also where no problem is noted.
func (o *Operator) ResetTokens(ctx context.Context, job string, worker *int, force bool) (int, error) {
	target := "all workers with a problem"
	switch {
	case worker != nil:
		target = fmt.Sprintf("worker %d", *worker)
	case force:
		target = "all workers"
	}
	reset, err := o.record(ctx, act{ActionResetTokens, job, target}, exec(resetTokensSQL, job, worker, force))
	return int(reset), err
}

// update runs a statement on a job's row and says whether it changed it.
func (o *Operator) update(ctx context.Context, doing act, statement string, args ...any) (bool, error) {
	changed, err := o.record(ctx, doing, exec(statement, args...))
	return changed > 0, err
}

// exec is a change by one statement.
func exec(statement string, args ...any) change {
	return func(ctx context.Context, tx pgx.Tx) (int64, error) {
		changed, err := tx.Exec(ctx, statement, args...)
		return changed.RowsAffected(), err
	}
}
