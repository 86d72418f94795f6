package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// retireSQL lets nobody count on this instance any more.
const retireSQL = `update modulo.instances set max_workers = 0 where instance = $1::uuid`

// reapSQL removes instances whose lease is over and, by the foreign key, makes their workers free. A heartbeat that
// comes at the same time has locked its row and is skipped, or has renewed it, which the lock looks at again.
const reapSQL = `with dead as materialized (
  select instance from modulo.instances
  where expires_at <= clock_timestamp()
  for update skip locked
)
delete from modulo.instances as i using dead where i.instance = dead.instance
returning i.host || ' ' || i.pid || ' ' || i.instance`

// Tick implements jobs.Instance.
func (i *instance) Tick(ctx context.Context, stopping bool) (tick jobs.Tick, err error) {
	err = i.ticks.use(ctx, func(conn *pgx.Conn) error {
		tick, err = i.tick(ctx, conn, stopping)
		return err
	})
	return tick, wrap("tick", err)
}

func (i *instance) tick(ctx context.Context, conn *pgx.Conn, stopping bool) (tick jobs.Tick, err error) {
	if stopping && !i.retired {
		if _, err := conn.Exec(ctx, retireSQL, i.id); err != nil {
			return tick, err
		}
		i.retired = true
	}
	if err := i.state(ctx, conn); err != nil {
		return tick, err
	}
	if tick.Dead, err = reap(ctx, conn); err != nil {
		return tick, err
	}
	v, err := readView(ctx, conn, i.names, i.Timing.Tick)
	if err != nil {
		return tick, err
	}
	if tick.Moved, err = i.noteTimeline(ctx, conn, v); err != nil {
		return tick, err
	}
	switched, err := v.switchAll(ctx, conn)
	if err != nil {
		return tick, err
	}
	if tick.Moved || switched {
		if v, err = readView(ctx, conn, i.names, i.Timing.Tick); err != nil {
			return tick, err
		}
	}
	if !v.alive(i.id) {
		return tick, jobs.ErrFenced
	}
	if i.Alone {
		err = i.takeAll(ctx, conn, v, &tick)
	} else {
		err = i.takeShare(ctx, conn, v, stopping, &tick)
	}
	tick.Soon = tick.Soon || len(i.wishes) > 0
	return tick, err
}

func reap(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, reapSQL)
	if err != nil {
		return nil, fmt.Errorf("reap: %w", err)
	}
	dead, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return dead, wrap("reap", err)
}

// takeShare takes free workers up to the share that the instance has among all, and gives back what is more than its
// share among those that have been there for a while: an instance that only just joined may be gone as soon.
func (i *instance) takeShare(ctx context.Context, conn *pgx.Conn, v *view, stopping bool, tick *jobs.Tick) error {
	shares := share(v.counts(), v.members)
	wanted := shares[i.id]
	settled := slices.DeleteFunc(slices.Clone(v.members), func(m member) bool { return m.young && m.id != i.id })
	kept := share(v.counts(), settled)[i.id]
	for _, j := range v.jobs {
		state := j.state(i.id)
		if missing := wanted[j.name] - len(state.Owned); !stopping && !j.hold {
			statement, free := acquireSQL, state.Unowned
			if j.next != 0 {
				statement, free = settleSQL, j.open()
			}
			if err := i.acquire(ctx, conn, statement, min(missing, free), &state); err != nil {
				return err
			}
			tick.Soon = tick.Soon || j.workers-state.Unowned < total(shares, j.name)
		}
		keep := max(wanted[j.name], kept[j.name])
		if stopping || j.next != 0 {
			keep = 0
		}
		for n := keep; n < len(state.Owned); n++ {
			state.Owned[n].GiveBack = true
		}
		state.Reserved = min(state.Unowned, v.missing(j.name, shares, i.id))
		tick.Soon = tick.Soon || j.next != 0 || keep < len(state.Owned)
		tick.Jobs = append(tick.Jobs, state)
	}
	return nil
}

// takeAll takes every worker, unless somebody else owns one.
func (i *instance) takeAll(ctx context.Context, conn *pgx.Conn, v *view, tick *jobs.Tick) error {
	for _, j := range v.jobs {
		if others := v.owners(j, i.id); len(others) > 0 {
			return &jobs.OwnedError{Job: j.name, Owners: others}
		}
	}
	for _, j := range v.jobs {
		state := j.state(i.id)
		statement, free := acquireSQL, state.Unowned
		if j.next != 0 {
			statement, free = settleSQL, j.open()
		}
		if !j.hold && !j.paused {
			if err := i.acquire(ctx, conn, statement, free, &state); err != nil {
				return err
			}
		}
		for n := range state.Owned {
			state.Owned[n].GiveBack = j.next != 0
		}
		tick.Jobs = append(tick.Jobs, state)
	}
	return nil
}

// acquireTemplate takes free workers of a generation, in force or ending: the lock on the job's row keeps a change of K from
// beginning, or being taken back, meanwhile. $1 job, $2 instance, $3 how many at most; the two gaps are what tells
// acquireSQL and settleSQL apart.
const acquireTemplate = `with job as (
  select job, generation from modulo.jobs
  where job = $1::text and next_workers is %s and (hold_until is null or hold_until <= clock_timestamp())
  for share
), free as (
  select w.job, w.generation, w.number, w.epoch, w.unfinished, w.unsettled
  from modulo.workers as w join job using (job, generation)
  where w.owner is null%s
  order by w.number
  limit $3::int
  for update of w skip locked
)
update modulo.workers as w
set owner = $2::uuid, epoch = nextval('modulo.epoch'), unfinished = true, unsettled = true, changed_at = clock_timestamp()
from free
where w.job = free.job and w.generation = free.generation and w.number = free.number and w.owner is null
returning w.number, w.epoch, free.unfinished, free.unsettled, free.epoch = 0`

var (
	// acquireSQL takes free workers of a generation that is in force.
	acquireSQL = fmt.Sprintf(acquireTemplate, "null", "")
	// settleSQL takes free workers of a generation that is ending, whose last owner left something unsettled.
	settleSQL = fmt.Sprintf(acquireTemplate, "not null", "\n    and "+openSQL)
)

// acquire takes up to n free workers of the job by acquireSQL or settleSQL.
func (i *instance) acquire(ctx context.Context, conn *pgx.Conn, statement string, n int, state *jobs.JobState) error {
	if n <= 0 {
		return nil
	}
	rows, err := conn.Query(ctx, statement, state.Job, i.id, n)
	if err != nil {
		return fmt.Errorf("acquire %s: %w", state.Job, err)
	}
	taken, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o jobs.Owned, err error) {
		o.Of = state.Workers
		var isNew bool
		err = row.Scan(&o.Number, &o.Epoch, &o.Unfinished, &o.Unsettled, &isNew)
		o.Takeover = takeover(isNew, o.Unfinished)
		o.Open = state.Next != 0 // that is why it was taken
		return o, err
	})
	if hasCode(err, codeForeignKeyViolation) {
		err = errors.Join(jobs.ErrFenced, err) // the lease was over, and the instance's row is gone
	}
	if err != nil {
		return fmt.Errorf("acquire %s: %w", state.Job, err)
	}
	state.Owned = append(state.Owned, taken...)
	state.Unowned -= len(taken)
	slices.SortFunc(state.Owned, func(a, b jobs.Owned) int { return a.Number - b.Number })
	return nil
}

func takeover(isNew, unfinished bool) jobs.Takeover {
	switch {
	case isNew:
		return jobs.TakeoverNew
	case unfinished:
		return jobs.TakeoverUnfinished
	}
	return jobs.TakeoverReleased
}
