package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"modulo/jobs"
)

// timeline is an expression that grows with each fail-over to a standby; noTimeline stands for it where a service
// hides its log.
const (
	timeline   = `('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint`
	noTimeline = `0::bigint`
)

// findTimeline returns the expression that this server can evaluate.
func (db *DB) findTimeline(ctx context.Context) (string, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var is int64
	err := db.pool.QueryRow(ctx, "select "+timeline).Scan(&is)
	if _, answered := errors.AsType[*pgconn.PgError](err); answered && !IsUnreachable(err) {
		return noTimeline, nil
	}
	return timeline, wrap("read timeline", err)
}

// checkTimeline is jobs.ErrMoved if the server has another timeline than the one given; 0 stands for any.
func (s *Source) checkTimeline(ctx context.Context, of int64) error {
	var is int64
	if err := s.db.pool.QueryRow(ctx, "select "+s.sql.timeline).Scan(&is); err != nil {
		return fmt.Errorf("read timeline: %w", err)
	}
	if of != 0 && is != of {
		return jobs.ErrMoved
	}
	return nil
}

// pin notes which timeline the rows of this worker come from. jobs.ErrMoved: rows have come from another one before, and
// what the worker remembers of their ids may be about other rows here.
func (w *WorkerRows) pin(timeline int64) error {
	w.timeline.CompareAndSwap(0, timeline) // before anything of it can be marked, which may run beside Fetch
	if w.timeline.Load() != timeline {
		return jobs.ErrMoved
	}
	return nil
}

// pinText is pin for a column in text form.
func (w *WorkerRows) pinText(column []byte) error {
	timeline, err := strconv.ParseInt(string(column), 10, 64)
	if err != nil {
		return err
	}
	return w.pin(timeline)
}

// leaveReadOnly drops the connections to a primary that turned read-only: it was demoted, and they must not linger.
func (db *DB) leaveReadOnly(err error) {
	if hasCode(err, codeReadOnlyTransaction) {
		db.pool.Reset()
	}
}

// epochsLost is more than the number of epochs that a standby can have missed when it becomes the primary.
const epochsLost = 100_000

// moveSQL notes the timeline. Unless it is the first one seen, no worker gets an owner for the time of a lease: what
// was committed last on the old server may be missing on this one, who owns what included. Epochs may be missing as well;
// they are left out, so that none is drawn twice. $1 jobs, $2 timeline, $3 seconds of a lease, $4 epochsLost, $5 whether
// this process has seen another timeline: that it was noted may be missing, too.
const moveSQL = `with news as materialized (
  select job, timeline is not null or $5::boolean as moved from modulo.jobs
  where job = any($1::text[]) and (timeline is distinct from $2::bigint or $5::boolean and hold_until is null)
  for update
), noted as (
  update modulo.jobs as j
  set hold_until = case when n.moved then clock_timestamp() + make_interval(secs => $3::float8) else j.hold_until end,
    timeline = $2::bigint
  from news as n where j.job = n.job
  returning n.moved
)
select max(nextval('modulo.epoch'))
from generate_series(1, case when exists (select from noted where moved) then $4::int else 0 end)`

// noteTimeline says whether the database is another server than at the last tick, of this or of any instance.
func (i *instance) noteTimeline(ctx context.Context, conn *pgx.Conn, v *view) (moved bool, err error) {
	var now int64
	if err := conn.QueryRow(ctx, "select "+i.db.timeline).Scan(&now); err != nil {
		return false, fmt.Errorf("read timeline: %w", err)
	}
	if now == 0 {
		return false, nil // a service that hides its log does not tell its fail-overs
	}
	before := i.timeline.Load()
	remembered := before != 0 && before != now
	news, moved := remembered, remembered
	for _, j := range v.jobs {
		news = news || j.timeline != now
		moved = moved || j.timeline != now && j.timeline != 0
	}
	if news {
		if _, err := conn.Exec(ctx, moveSQL, i.names, now, i.Timing.Lease.Seconds(), epochsLost, remembered); err != nil {
			return false, fmt.Errorf("note timeline: %w", err)
		}
	}
	i.timeline.Store(now)
	if moved {
		i.db.pool.Reset() // connections to the old server may still stand
	}
	return moved, nil
}
