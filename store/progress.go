package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// WorkerProgress is how far a worker has come: what its owner tells about it every few seconds, for people.
type WorkerProgress struct {
	Job        string
	Number     int
	Done       int64   // rows marked done: ever, as read; since the note before, as written
	Rate       float64 // rows marked done per second, of late
	ProgressAt time.Time
	PassAt     time.Time // end of the last pass; zero: none is known. The other fields of a pass are about it
	PassTook   time.Duration
	PassDone   int
	PassFailed int
	Problem    string        // why the last pass ended early; empty: it did not
	NotedAgo   time.Duration // since the note, as read
}

// noteProgressSQL may be repeated: no two notes of rows tell of the same moment of progress, so rows of the moment that is
// known have been counted.
const noteProgressSQL = `insert into modulo.progress as p
  (job, number, done, rate, progress_at, pass_at, pass_ms, pass_done, pass_failed, problem)
select * from unnest($1::text[], $2::int[], $3::bigint[], $4::float8[], $5::timestamptz[], $6::timestamptz[],
  $7::bigint[], $8::bigint[], $9::bigint[], $10::text[]) order by 1, 2
on conflict (job, number) do update set
  done = p.done + case when excluded.progress_at is distinct from p.progress_at then excluded.done else 0 end, rate = excluded.rate,
  progress_at = coalesce(excluded.progress_at, p.progress_at),
  pass_at = coalesce(excluded.pass_at, p.pass_at),
  pass_ms = case when excluded.pass_at is null then p.pass_ms else excluded.pass_ms end,
  pass_done = case when excluded.pass_at is null then p.pass_done else excluded.pass_done end,
  pass_failed = case when excluded.pass_at is null then p.pass_failed else excluded.pass_failed end,
  problem = excluded.problem, noted_at = clock_timestamp()`

// NoteProgress writes what the owner of workers knows about them. Zero times leave what is known. After an error the notes
// may have been written: repeat them unchanged, before any other of these workers. If another owner of one notes in
// between, rows may count twice.
func (db *DB) NoteProgress(ctx context.Context, list []WorkerProgress) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	n := len(list)
	jobs, numbers, done, rates := make([]string, n), make([]int, n), make([]int64, n), make([]float64, n)
	progressAt, passAt := make([]*time.Time, n), make([]*time.Time, n)
	took, passDone, passFailed, problems := make([]int64, n), make([]int64, n), make([]int64, n), make([]*string, n)
	for i, w := range list {
		jobs[i], numbers[i], done[i], rates[i] = w.Job, w.Number, w.Done, w.Rate
		progressAt[i], passAt[i] = nullIfZero(w.ProgressAt), nullIfZero(w.PassAt)
		took[i], passDone[i], passFailed[i] = w.PassTook.Milliseconds(), int64(w.PassDone), int64(w.PassFailed)
		problems[i] = nullIfZero(storable(w.Problem))
	}
	_, err := db.pool.Exec(ctx, noteProgressSQL, jobs, numbers, done, rates, progressAt, passAt, took, passDone, passFailed, problems)
	return wrap("note progress", err)
}

const progressSQL = `select job, number, done, rate, progress_at, pass_at, pass_ms, pass_done, pass_failed, coalesce(problem, ''),
  extract(epoch from clock_timestamp() - noted_at)::float8
from modulo.progress where job = $1::text order by number`

// Progress reads what is known of the workers of a job, those beyond the present K included.
func (db *DB) Progress(ctx context.Context, job string) ([]WorkerProgress, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, progressSQL, job)
	if err != nil {
		return nil, wrap("progress of "+job, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w WorkerProgress, err error) {
		var progressAt, passAt *time.Time
		var took int64
		var noted float64
		err = row.Scan(&w.Job, &w.Number, &w.Done, &w.Rate, &progressAt, &passAt, &took, &w.PassDone, &w.PassFailed, &w.Problem, &noted)
		if progressAt != nil {
			w.ProgressAt = *progressAt
		}
		if passAt != nil {
			w.PassAt = *passAt
		}
		w.PassTook, w.NotedAgo = time.Duration(took)*time.Millisecond, seconds(noted)
		return w, err
	})
	return list, wrap("progress of "+job, err)
}

// Instance is a running instance, as its lease says.
type Instance struct {
	ID         string
	Host       string
	PID        int
	Version    string
	Jobs       []string
	MaxWorkers *int // nil: no limit; 0: it is stopping
	StartedAt  time.Time
	Expires    time.Duration // left of its lease; negative: it is dead, and nobody has noticed yet
	Owned      int           // workers, of all jobs
}

const instancesSQL = `select i.instance::text, i.host, i.pid, i.version, i.jobs, i.max_workers, i.started_at,
  extract(epoch from i.expires_at - clock_timestamp())::float8,
  (select count(*) from modulo.workers as w where w.owner = i.instance)
from modulo.instances as i order by i.started_at, i.instance`

// Instances lists the instances, the oldest first.
func (db *DB) Instances(ctx context.Context) ([]Instance, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, instancesSQL)
	if err != nil {
		return nil, wrap("list instances", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i Instance, err error) {
		var expires float64
		err = row.Scan(&i.ID, &i.Host, &i.PID, &i.Version, &i.Jobs, &i.MaxWorkers, &i.StartedAt, &expires, &i.Owned)
		i.Expires = seconds(expires)
		return i, err
	})
	return list, wrap("list instances", err)
}
