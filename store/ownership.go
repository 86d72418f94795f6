package store

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// OwnershipConfig says what this process wants to run.
type OwnershipConfig struct {
	Jobs       []*jobs.Job
	Timing     jobs.Timing
	MaxWorkers int // most workers of this process, of all jobs; 0: no limit
	// Alone takes every worker of the jobs, or none: Tick returns a *jobs.OwnedError where others own some.
	Alone   bool
	Version string
}

// Ownership implements jobs.Ownership by the tables modulo.jobs, instances and workers. Only the clock of the database
// decides when a lease is over. There is nothing that needs a session to last: it works through a pooler.
type Ownership struct {
	OwnershipConfig
	db     *DB
	host   string
	wishes []*jobs.Job // jobs whose stated number of workers is not yet made known

	timeline atomic.Int64 // of the server at the last tick of this process; 0: there was none
}

var _ jobs.Ownership = (*Ownership)(nil)

// NewOwnership does not connect. The result is for one process, and one membership at a time.
func (db *DB) NewOwnership(cfg OwnershipConfig) (*Ownership, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ownership: %w", err)
	}
	o := &Ownership{OwnershipConfig: cfg, db: db, host: host}
	for _, job := range cfg.Jobs {
		if job.Stated {
			o.wishes = append(o.wishes, job)
		}
	}
	return o, nil
}

func (o *Ownership) names() []string {
	names := make([]string, len(o.Jobs))
	for i, job := range o.Jobs {
		names[i] = job.Name
	}
	return names
}

// createJobSQL makes the first generation of a job that was never run. $1 job, $2 workers, $3 whether that was stated.
const createJobSQL = `with new as (
  insert into modulo.jobs (job, workers, stated_workers)
  values ($1::text, $2::int, case when $3::boolean then $2::int end)
  on conflict do nothing
  returning job, generation, workers
)
insert into modulo.workers (job, generation, number)
select job, generation, generate_series(0, workers - 1) from new`

const joinSQL = `insert into modulo.instances (instance, host, pid, version, jobs, max_workers, expires_at)
values ($1::uuid, $2::text, $3::int, $4::text, $5::text[], $6::int, clock_timestamp() + make_interval(secs => $7::float8))`

// Join implements jobs.Ownership.
func (o *Ownership) Join(ctx context.Context) (jobs.Instance, error) {
	i := &instance{
		Ownership: o, id: uuid.NewString(), names: o.names(),
		beats: o.db.newSession(), ticks: o.db.newSession(),
	}
	err := i.ticks.use(ctx, func(conn *pgx.Conn) error {
		for _, job := range o.Jobs {
			if _, err := conn.Exec(ctx, createJobSQL, job.Name, job.Workers, job.Stated); err != nil {
				return err
			}
		}
		_, err := conn.Exec(ctx, joinSQL, i.id, o.host, os.Getpid(), o.Version, i.names, nullIfZero(o.MaxWorkers),
			o.Timing.Lease.Seconds())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return i, nil
}

// instance implements jobs.Instance.
type instance struct {
	*Ownership
	id      string
	names   []string
	beats   *session // of the goroutine that beats
	ticks   *session // of the one that does everything else
	retired bool
}

// beatSQL cannot revive a lease that is over. clock_timestamp is the time after any wait for a lock; now() would be
// that before. A lease on the old primary counts no more once a tick has seen the new one: %s is the timeline, $3 that
// of the last tick.
const beatSQL = `update modulo.instances
set beat = beat + 1, expires_at = clock_timestamp() + make_interval(secs => $2::float8)
where instance = $1::uuid and expires_at > clock_timestamp() and (select %s) >= $3::bigint`

// Beat implements jobs.Instance.
func (i *instance) Beat(ctx context.Context) error {
	err := i.beats.use(ctx, func(conn *pgx.Conn) error {
		renewed, err := conn.Exec(ctx, fmt.Sprintf(beatSQL, i.db.timeline), i.id, i.Timing.Lease.Seconds(), i.timeline.Load())
		if err == nil && renewed.RowsAffected() == 0 {
			err = jobs.ErrFenced
		}
		return err
	})
	i.db.leaveReadOnly(err)
	return wrap("heartbeat", err)
}

const releaseSQL = `update modulo.workers as w
set owner = null, unfinished = r.unfinished, unsettled = r.unsettled, changed_at = clock_timestamp()
from unnest($3::int[], $4::bigint[], $5::boolean[], $6::boolean[]) as r (number, epoch, unfinished, unsettled)
where w.job = $1::text and w.owner = $2::uuid and w.number = r.number and w.epoch = r.epoch`

// Release implements jobs.Instance.
func (i *instance) Release(ctx context.Context, job string, workers []jobs.Owned) error {
	var numbers []int32
	var epochs []int64
	var unfinished, unsettled []bool
	for _, w := range workers {
		numbers, epochs = append(numbers, int32(w.Number)), append(epochs, w.Epoch)
		unfinished, unsettled = append(unfinished, w.Unfinished), append(unsettled, w.Unsettled)
	}
	err := i.ticks.use(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, releaseSQL, job, i.id, numbers, epochs, unfinished, unsettled)
		return err
	})
	return wrap("release "+job, err)
}

// leaveSQL sets the owner of its workers to null by the foreign key.
const leaveSQL = `delete from modulo.instances where instance = $1::uuid`

// Leave implements jobs.Instance. It also ends the connections; Beat must not run any more.
func (i *instance) Leave(ctx context.Context) error {
	err := i.ticks.use(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, leaveSQL, i.id)
		return err
	})
	i.ticks.close(ctx)
	i.beats.close(ctx)
	return wrap("leave", err)
}
