package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoJob says that no instance has ever run the job on this database.
var ErrNoJob = errors.New("no instance has run this job yet")

// ChangingError says that another change of K is under way.
type ChangingError struct {
	Job      string
	From, To int
}

func (e *ChangingError) refusal() {}

func (e *ChangingError) Error() string {
	return fmt.Sprintf("job %s is being changed from %d to %d workers by somebody else", e.Job, e.From, e.To)
}

// Control is what all instances agree on about a job.
type Control struct {
	Job        string
	Generation int64
	Workers    int // K in force
	Next       int // K that is being changed to; 0: none
	Paused     bool
	Instances  int // live instances that run the job
	Owners     []WorkerOwner
}

// WorkerOwner is one worker of the generation in force.
type WorkerOwner struct {
	Number     int
	Epoch      int64
	Instance   string // empty: nobody
	Host       string
	PID        int
	ChangedAgo time.Duration // since it got, or lost, its owner
	// Open says that rows the broker holds may have no mark yet: a change of K waits until an instance has settled that.
	Open    bool
	Problem string // what is wrong with its token; empty: nothing
	Expires time.Duration
}

// Owned is how many workers have an owner.
func (c Control) Owned() int {
	n := 0
	for _, o := range c.Owners {
		if o.Instance != "" {
			n++
		}
	}
	return n
}

// Released is how many workers have no owner and nothing to settle: a change of K waits for all.
func (c Control) Released() int {
	n := 0
	for _, o := range c.Owners {
		if o.Instance == "" && !o.Open {
			n++
		}
	}
	return n
}

// Problems is how many workers wait for a person because of their tokens.
func (c Control) Problems() int {
	n := 0
	for _, o := range c.Owners {
		if o.Problem != "" {
			n++
		}
	}
	return n
}

const controlSQL = `select job, generation, workers, coalesce(next_workers, 0), paused,
  (select count(*) from modulo.instances as i where j.job = any(i.jobs) and i.expires_at > clock_timestamp())
from modulo.jobs as j where job = $1::text`

const ownersSQL = `select w.number, w.epoch, coalesce(w.owner::text, ''), coalesce(i.host, ''), coalesce(i.pid, 0),
  extract(epoch from clock_timestamp() - w.changed_at)::float8,
  coalesce(extract(epoch from i.expires_at - clock_timestamp()), 0)::float8, w.owner is null and ` + openSQL + `,
  coalesce((select t.problem from modulo.tokens as t where t.job = w.job and t.number = w.number), '')
from modulo.workers as w left join modulo.instances as i on i.instance = w.owner
where w.job = $1::text and w.generation = $2::bigint
order by w.number`

// Control reads the state of a job; ErrNoJob where there is none.
func (db *DB) Control(ctx context.Context, job string) (Control, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var c Control
	err := db.pool.QueryRow(ctx, controlSQL, job).Scan(&c.Job, &c.Generation, &c.Workers, &c.Next, &c.Paused, &c.Instances)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoJob
	}
	if err != nil {
		return Control{}, fmt.Errorf("job %s: %w", job, err)
	}
	rows, err := db.pool.Query(ctx, ownersSQL, job, c.Generation)
	if err != nil {
		return Control{}, fmt.Errorf("workers of %s: %w", job, err)
	}
	c.Owners, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o WorkerOwner, err error) {
		var changed, expires float64
		err = row.Scan(&o.Number, &o.Epoch, &o.Instance, &o.Host, &o.PID, &changed, &expires, &o.Open, &o.Problem)
		o.ChangedAgo, o.Expires = seconds(changed), seconds(expires)
		return o, err
	})
	return c, wrap("workers of "+job, err)
}

// seconds is a span of time as the database tells it. Ages and what is left of a lease are its to work out: our clock may differ.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

const jobNamesSQL = `select job from modulo.jobs order by job`

// JobNames lists the jobs that were ever run.
func (db *DB) JobNames(ctx context.Context) ([]string, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, jobNamesSQL)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return names, wrap("list jobs", err)
}

const knownSQL = `select exists (select from modulo.jobs where job = $1::text) or exists (select from modulo.failures where job = $1::text)`

// CheckJob returns ErrNoJob where no instance has ever run the job, unless it left failed rows.
func (db *DB) CheckJob(ctx context.Context, job string) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var known bool
	err := db.pool.QueryRow(ctx, knownSQL, job).Scan(&known)
	if err == nil && !known {
		err = ErrNoJob
	}
	return wrap("job "+job, err)
}

// Advance does what any instance does for a change of K at its next tick: it frees the workers of dead instances and
// begins the next generation if no worker has an owner or something to settle. So a change ends without any instance
// where the last owners have left nothing open.
func (db *DB) Advance(ctx context.Context, job string) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("change workers of %s: %w", job, err)
	}
	defer conn.Release()
	if _, err := reap(ctx, conn.Conn()); err != nil {
		return err
	}
	return wrap("change workers of "+job, switchGeneration(ctx, conn, job))
}
