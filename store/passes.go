package store

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// PassResult says in a word how a pass went.
type PassResult string

const (
	PassComplete PassResult = "complete"
	PassEarly    PassResult = "ended early"
	PassMissed   PassResult = "missed" // by a cron expression: it did not begin at its time
)

// NoWorker is the number of an entry about workers that had no owner.
const NoWorker = -1

// Pass is an entry of the history: passes of a worker that went alike.
type Pass struct {
	Job      string
	Number   int    // of the worker, or NoWorker
	Instance string // as read: host and process
	BeganAt  time.Time
	EndedAt  time.Time
	Passes   int
	Took     time.Duration // of the longest
	Sent     int
	Done     int
	Failed   int
	Repeated int
	Result   PassResult
	Problem  string // empty: it is complete
}

// notePassesSQL may be repeated: an entry is written as a whole. Two with one key would make all of them fail.
const notePassesSQL = `insert into modulo.passes
  (job, number, began_at, ended_at, passes, took_ms, sent, done, failed, repeated, result, problem, instance)
select distinct on (1, 3, 2) *, $13::text from unnest($1::text[], $2::int[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::bigint[], $7::bigint[],
  $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[]) order by 1, 3, 2
on conflict (job, began_at, number) do update set ended_at = excluded.ended_at, passes = excluded.passes, took_ms = excluded.took_ms,
  sent = excluded.sent, done = excluded.done, failed = excluded.failed, repeated = excluded.repeated, result = excluded.result,
  problem = excluded.problem`

// NotePasses writes entries of the history, anew or as they are by now.
func (db *DB) NotePasses(ctx context.Context, list []Pass) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("note passes: %w", err)
	}
	n := len(list)
	jobs, numbers, passes, results, problems := make([]string, n), make([]int, n), make([]int, n), make([]string, n), make([]*string, n)
	began, ended := make([]time.Time, n), make([]time.Time, n)
	took, sent, done, failed, repeated := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, p := range list {
		jobs[i], numbers[i], passes[i], results[i], problems[i] = p.Job, p.Number, p.Passes, string(p.Result), nullIfZero(storable(p.Problem))
		began[i], ended[i], took[i] = p.BeganAt, p.EndedAt, p.Took.Milliseconds()
		sent[i], done[i], failed[i], repeated[i] = int64(p.Sent), int64(p.Done), int64(p.Failed), int64(p.Repeated)
	}
	_, err = db.pool.Exec(ctx, notePassesSQL, jobs, numbers, began, ended, passes, took, sent, done, failed, repeated, results, problems,
		fmt.Sprintf("%s pid %d", host, os.Getpid()))
	return wrap("note passes", err)
}

// How much of the history is kept: of each job the newest entries, none older than that.
const (
	passesKept    = 24 * time.Hour
	MaxPassesKept = 20_000
)

// prunePassesSQL removes what is too old or too much, an amount at a time that nobody waits for. What another instance removes
// meanwhile is left to it. $1 seconds, $2 entries per job, $3 most to remove.
const prunePassesSQL = `delete from modulo.passes as p using (
  select o.job, o.began_at, o.number
  from (select job from modulo.jobs) as j
  cross join lateral (
    select k.began_at from modulo.passes as k where k.job = j.job order by k.began_at desc offset $2::bigint limit 1
  ) as surplus
  join modulo.passes as o on o.job = j.job and o.began_at <= surplus.began_at
  union all
  select o.job, o.began_at, o.number
  from modulo.jobs as j join modulo.passes as o using (job)
  where o.began_at < clock_timestamp() - make_interval(secs => $1::float8)
  limit $3
) as gone
where p.job = gone.job and p.began_at = gone.began_at and p.number = gone.number`

// pruneChunk is how many entries one call removes at most.
const pruneChunk = 5000

// PrunePasses removes entries that are kept no longer, and says whether there may be more of them.
func (db *DB) PrunePasses(ctx context.Context) (more bool, err error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	pruned, err := db.pool.Exec(ctx, prunePassesSQL, passesKept.Seconds(), MaxPassesKept, pruneChunk)
	return pruned.RowsAffected() == pruneChunk, wrap("prune passes", err)
}

// PassPosition is where a page of the history begins: behind this entry.
type PassPosition struct {
	BeganAt time.Time
	Number  int
}

// PassFilter picks entries of a job, newest first.
type PassFilter struct {
	Job     string        // required
	Worker  *int          // nil: all
	Trouble bool          // only those that are not complete
	Before  *PassPosition // nil: from the newest
	Limit   int
}

const listPassesSQL = `select job, number, instance, began_at, ended_at, passes, took_ms, sent, done, failed, repeated, result, coalesce(problem, '')
from modulo.passes
where job = $1::text and ($2::int is null or number = $2) and (not $3::boolean or result <> 'complete')
  and ($4::timestamptz is null or (began_at, number) < ($4, $5::int)) and began_at >= clock_timestamp() - make_interval(secs => $7::float8)
order by began_at desc, number desc
limit $6`

// Passes lists entries, newest first.
func (db *DB) Passes(ctx context.Context, f PassFilter) ([]Pass, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var before *time.Time
	number := 0
	if f.Before != nil {
		before, number = &f.Before.BeganAt, f.Before.Number
	}
	rows, err := db.pool.Query(ctx, listPassesSQL, f.Job, f.Worker, f.Trouble, before, number, f.Limit, passesKept.Seconds())
	if err != nil {
		return nil, wrap("passes of "+f.Job, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Pass, err error) {
		var took int64
		err = row.Scan(&p.Job, &p.Number, &p.Instance, &p.BeganAt, &p.EndedAt, &p.Passes, &took, &p.Sent, &p.Done, &p.Failed, &p.Repeated,
			&p.Result, &p.Problem)
		p.Took = time.Duration(took) * time.Millisecond
		return p, err
	})
	return list, wrap("passes of "+f.Job, err)
}
