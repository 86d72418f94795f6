package store

import (
	"context"
	"fmt"
	"time"
)

// Backlog is what is left to do in a job. Rows with a failure record count as failed or retrying, not as pending.
type Backlog struct {
	Workers []WorkerBacklog // one per worker, in order
	// Complete is false where counting stopped at the limit: there are at least as many rows as counted.
	Complete         bool
	Aged             bool // the table has a created_at, so that ages are known
	Failed, Retrying int  // discarded ones wait for their worker and are not counted
}

// WorkerBacklog is one worker's part of a Backlog.
type WorkerBacklog struct {
	Pending  int
	OldestID int64         // only where Pending > 0
	Age      time.Duration // of the row inserted first; 0 where the table has no created_at
}

// Pending sums up the workers.
func (b Backlog) Pending() int {
	n := 0
	for _, w := range b.Workers {
		n += w.Pending
	}
	return n
}

// Oldest is the greatest age of all workers.
func (b Backlog) Oldest() time.Duration {
	var age time.Duration
	for _, w := range b.Workers {
		age = max(age, w.Age)
	}
	return age
}

// BacklogLimit is how many pending rows of a job are counted for people and metrics, the oldest first: a tenth of a second
// on a table with ten million.
const BacklogLimit = 100_000

const countByStateSQL = `select count(*) filter (where failed_at is not null),
  count(*) filter (where failed_at is null and discarded_at is null)
from modulo.failures where job = $1`

// CountByState counts the failed rows of a job that wait for a person, and those that are tried again.
func (db *DB) CountByState(ctx context.Context, job string) (failed, retrying int, err error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	err = db.pool.QueryRow(ctx, countByStateSQL, job).Scan(&failed, &retrying)
	return failed, retrying, wrap("count failures "+job, err)
}

// backlog groups the first pending rows by worker. $1 is K, $2 the most rows to count.
func (s *statements) backlog(created bool) string {
	age := "null::timestamptz"
	if created {
		age = "t.created_at::timestamptz"
	}
	return fmt.Sprintf(`select ((shard_key %% $1 + $1) %% $1)::int, count(*), min(id),
  extract(epoch from now() - min(created))::float8
from (
  select %s::bigint as shard_key, t.%s::bigint as id, %s as created
  from %s as t
  where (
%s
  )
%s  order by t.%s
  limit $2
) as pending (shard_key, id, created)
group by 1`, s.shardKey(), s.id, age, s.table, s.where, s.notParked(), s.id)
}

// Backlog counts the pending rows of each of the workers, the oldest first and limit rows at most, so that it costs
// little however many there are.
func (s *Source) Backlog(ctx context.Context, workers, limit int) (Backlog, error) {
	ctx, cancel := s.db.bounded(ctx)
	defer cancel()
	b := Backlog{Workers: make([]WorkerBacklog, workers), Aged: s.created}
	var err error
	if b.Failed, b.Retrying, err = s.db.CountByState(ctx, s.sql.job); err != nil {
		return Backlog{}, err
	}
	rows, err := s.db.pool.Query(ctx, s.sql.backlog(s.created), int64(workers), int64(limit))
	if err != nil {
		return Backlog{}, fmt.Errorf("backlog %s: %w", s.sql.job, err)
	}
	defer rows.Close()
	for rows.Next() {
		var worker, pending int
		var oldest int64
		var age *float64
		if err := rows.Scan(&worker, &pending, &oldest, &age); err != nil {
			return Backlog{}, fmt.Errorf("backlog %s: %w", s.sql.job, err)
		}
		b.Workers[worker] = WorkerBacklog{Pending: pending, OldestID: oldest}
		if age != nil {
			b.Workers[worker].Age = max(0, seconds(*age))
		}
	}
	if err := rows.Err(); err != nil {
		return Backlog{}, fmt.Errorf("backlog %s: %w", s.sql.job, err)
	}
	b.Complete = b.Pending() < limit
	return b, nil
}
