package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// RetentionConfig says how long rows are kept; 0 is for ever.
type RetentionConfig struct {
	Jobs   []*jobs.Job
	Others []*jobs.Job   // run elsewhere: what is pending for them is not deleted
	Done   time.Duration // rows of modulo.outbox, after they were marked done; they are deleted
	Failed time.Duration // failed rows of the jobs, after their last attempt; they are discarded, as by a person
	Audit  time.Duration // entries of modulo.audit; they are deleted
	Batch  int           // most rows looked at in one transaction; default 1000
	Lease  time.Duration // how long a process that is gone keeps others from going on; default 3m
}

// The kinds of rows that are removed.
const (
	kindDone   = "done"
	kindFailed = "failed"
	kindAudit  = "audit"
)

// RetentionKinds lists them.
func RetentionKinds() []string { return []string{kindDone, kindFailed, kindAudit} }

const (
	defaultRetentionBatch = 1000
	defaultRetentionLease = 3 * time.Minute
	minRetentionBatch     = 10
	// All rows are looked at again after a tenth of the time they are kept, within these limits.
	sweepShare = 10
	minSweep   = 10 * time.Minute
	maxSweep   = 24 * time.Hour
)

// retentionLimits bound what a batch may hold up.
const retentionLimits = `set local lock_timeout = '100ms'; set local statement_timeout = '5s';
set local enable_seqscan = off; set local enable_bitmapscan = off`

// Sweep removes one kind of old rows. It walks along the primary key, a batch per transaction, and remembers how far it
// came: rows below that are old and gone, or have a reason to stay, and are looked at again by the next sweep from the
// start. All that Sweeps returns share one connection beside the pool, so only one of them may be used at a time.
type Sweep struct {
	RetentionConfig
	db      *DB
	session *session
	holder  string
	host    string
	kind    sweepKind
	keep    time.Duration
	limit   int // rows of the next batch: fewer after one that took too long

	position int64     // the next batch begins behind it
	frontier int64     // behind it rows are too young
	began    time.Time // the sweep from the start; zero: none so far
	whole    bool      // the sweep began at the start
}

// sweepKind is the SQL of a Sweep. walk selects ids behind $1 in order, whether each is to go, and whether it is too young,
// as are those behind it; $2 is the time to keep in seconds, and the limit is a literal, for the planner. remove takes the
// ids as $1 and the time as $2, leaves out rows that somebody has locked, and looks again at each as it is now: what was
// set pending meanwhile stays.
type sweepKind struct{ name, job, walk, remove string }

// Sweeps returns one per kind of rows that the configuration limits.
func (db *DB) Sweeps(cfg RetentionConfig) ([]*Sweep, error) {
	cfg.Batch = orDefault(cfg.Batch, defaultRetentionBatch)
	cfg.Lease = orDefault(cfg.Lease, defaultRetentionLease)
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("retention: %w", err)
	}
	var sweeps []*Sweep
	holder, session := uuid.NewString(), db.newSession()
	add := func(keep time.Duration, kind sweepKind) {
		if keep > 0 {
			sweeps = append(sweeps, &Sweep{RetentionConfig: cfg, db: db, session: session, holder: holder, host: host, kind: kind, keep: keep, limit: cfg.Batch})
		}
	}
	var onOutbox []*jobs.Job
	for _, job := range slices.Concat(cfg.Jobs, cfg.Others) {
		if job.Source.Table == OutboxTable {
			onOutbox = append(onOutbox, job)
		}
	}
	if len(onOutbox) > 0 { // else nobody here knows what is pending
		add(cfg.Done, doneKind(onOutbox))
	}
	add(cfg.Audit, auditKind)
	for _, job := range cfg.Jobs {
		add(cfg.Failed, failedKind(job.Name))
	}
	return sweeps, nil
}

// doneKind removes rows of modulo.outbox. A row is pending as long as one of the jobs takes it to be, whatever done_at says.
func doneKind(onOutbox []*jobs.Job) sweepKind {
	var old strings.Builder
	old.WriteString("t.done_at < now() - make_interval(secs => %s::float8)")
	for _, job := range onOutbox {
		fmt.Fprintf(&old, "\n  and (\n%s\n  ) is not true", strings.ReplaceAll(job.Source.Where, "%", "%%"))
	}
	return sweepKind{
		name: kindDone,
		walk: fmt.Sprintf(`select t.id, coalesce(`+old.String()+`, false),
  t.created_at >= now() - make_interval(secs => $2::float8)
from modulo.outbox as t where t.id > (select $1::bigint) order by t.id`, "$2"),
		remove: fmt.Sprintf(`delete from modulo.outbox as t where t.id = any(array(
  select l.id from modulo.outbox as l where l.id = any($1::bigint[]) for update skip locked
)) and `+old.String(), "$2"),
	}
}

var auditKind = sweepKind{
	name: kindAudit,
	walk: `select id, at < now() - make_interval(secs => $2::float8), at >= now() - make_interval(secs => $2::float8)
from modulo.audit where id > (select $1::bigint) order by id`,
	remove: `delete from modulo.audit where id = any($1::bigint[]) and at < now() - make_interval(secs => $2::float8)`,
}

// failedKind gives up rows that wait for a person: their workers mark them done and remove the records. A record is never
// deleted here: it keeps a pending row from being sent. Rows that were delivered and cannot be marked stay.
func failedKind(job string) sweepKind {
	return sweepKind{
		name: kindFailed, job: job,
		walk: `select row_id, failed_at is not null and not delivered and failed_at < now() - make_interval(secs => $2::float8), false
from modulo.failures where job = ` + quoteText(job) + ` and row_id > (select $1::bigint) order by row_id`,
		remove: `update modulo.failures set discarded_at = now(), failed_at = null, next_attempt_at = now(), updated_at = now()
where job = ` + quoteText(job) + ` and row_id = any(array(
  select l.row_id from modulo.failures as l where l.job = ` + quoteText(job) + ` and l.row_id = any($1::bigint[]) for update skip locked
)) and not delivered and failed_at < now() - make_interval(secs => $2::float8)`,
	}
}

// Kind is done, failed or audit.
func (s *Sweep) Kind() string { return s.kind.name }

// SweepStep is what one batch of a Sweep did.
type SweepStep struct {
	Removed int
	Rests   bool // nothing is left to do for now
}

// Step looks at the next batch and removes what is old in it. Where another process does that it removes nothing and rests.
// A batch that takes too long is given up, and the next one is smaller.
func (s *Sweep) Step(ctx context.Context) (step SweepStep, err error) {
	if !s.begin(time.Now()) {
		return SweepStep{Rests: true}, nil
	}
	ctx, cancel := s.db.bounded(ctx)
	defer cancel()
	var walked walk
	err = s.session.use(ctx, func(conn *pgx.Conn) error {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			walked = walk{position: s.position, frontier: s.frontier}
			return s.batch(ctx, tx, &walked)
		})
		switch {
		case walked.others && hasCode(err, codeLockNotAvailable):
		case hasCode(err, codeQueryCanceled, codeLockNotAvailable):
			walked.late = err
		default:
			return err
		}
		return nil // the connection is sound
	})
	if err == nil && walked.late != nil {
		if hasCode(walked.late, codeQueryCanceled) {
			s.limit = max(s.limit/2, minRetentionBatch)
		}
		err = walked.late
	}
	if err != nil {
		return SweepStep{Rests: true}, fmt.Errorf("remove %s rows: %w", s.kind.name, err)
	}
	if walked.others {
		s.began = time.Time{}
		return SweepStep{Rests: true}, nil
	}
	s.position, s.frontier, s.limit = walked.position, walked.frontier, min(2*s.limit, s.Batch)
	s.whole = s.whole && !walked.ends
	return SweepStep{Removed: walked.removed, Rests: walked.ends}, nil
}

// Close ends the connection.
func (s *Sweep) Close(ctx context.Context) { s.session.close(ctx) }

// begin says whether there is anything to look at: a sweep from the start when it is time for one, else what has become old
// at the end of the last.
func (s *Sweep) begin(now time.Time) bool {
	every := min(max(s.keep/sweepShare, minSweep), maxSweep)
	if s.began.IsZero() || now.Sub(s.began) >= every {
		s.began, s.whole = now, true
		s.position, s.frontier = math.MinInt64, math.MinInt64
	}
	return s.whole || s.kind.name != kindFailed
}

// walk is one batch.
type walk struct {
	position, frontier int64
	removed            int
	ends, others       bool
	late               error // it took too long, or somebody has locked the table
}

// holdSQL takes or renews the right to remove rows, unless another process has it, or is at it right now. $1 subject, $2
// holder, $3 host, $4 seconds.
const holdSQL = `insert into modulo.retention as r (subject, holder, host, expires_at)
values ($1::text, $2::uuid, $3::text, clock_timestamp() + make_interval(secs => $4::float8))
on conflict (subject) do update set holder = excluded.holder, host = excluded.host, expires_at = excluded.expires_at
where r.holder = excluded.holder or r.expires_at <= clock_timestamp()`

const sweptSQL = `update modulo.retention set removed = removed + $2::bigint, swept_at = case when $3::boolean then clock_timestamp() else swept_at end
where subject = $1::text and ($2::bigint > 0 or $3::boolean)`

func (s *Sweep) batch(ctx context.Context, tx pgx.Tx, w *walk) error {
	if _, err := tx.Exec(ctx, retentionLimits, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	held, err := tx.Exec(ctx, holdSQL, s.kind.name, s.holder, s.host, s.Lease.Seconds())
	w.others = hasCode(err, codeLockNotAvailable) || err == nil && held.RowsAffected() == 0
	if err != nil || w.others {
		return err
	}
	old, err := s.look(ctx, tx, w)
	if err != nil {
		return err
	}
	if len(old) > 0 {
		removed, err := tx.Exec(ctx, s.kind.remove, old, s.keep.Seconds())
		if err != nil {
			return err
		}
		w.removed = int(removed.RowsAffected())
	}
	if err := s.record(ctx, tx, w.removed); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sweptSQL, s.kind.name, w.removed, w.ends && s.whole)
	return err
}

// record writes down, for people, that rows were given up in nobody's name.
func (s *Sweep) record(ctx context.Context, tx pgx.Tx, rows int) error {
	if s.kind.job == "" || rows == 0 {
		return nil
	}
	o := s.db.As(Actor{Who: "retention on " + s.host, Reason: "failed for longer than " + s.keep.String()})
	_, err := o.note(ctx, tx, act{ActionDiscard, s.kind.job, "failed rows"}, ResultDone, int64(rows))
	return err
}

// look walks on and returns the ids of what is old. It ends at the end of the table, or behind the last row that was there
// before all that is kept.
func (s *Sweep) look(ctx context.Context, tx pgx.Tx, w *walk) (old []int64, err error) {
	rows, err := tx.Query(ctx, fmt.Sprintf("%s limit %d", s.kind.walk, s.limit), w.position, s.keep.Seconds())
	if err != nil {
		return nil, err
	}
	var id int64
	var goes, young bool
	looked, allYoung := 0, true
	_, err = pgx.ForEachRow(rows, []any{&id, &goes, &young}, func() error {
		looked++
		if goes {
			old = append(old, id)
		}
		if !young {
			w.frontier, allYoung = id, false
		}
		return nil
	})
	w.position = id
	if w.ends = looked < s.limit || allYoung; w.ends {
		w.position = w.frontier // the next round goes on there
	}
	return old, errors.Join(err, rows.Err())
}

// Retained is how far the removal of one kind of rows has come, by whichever process.
type Retained struct {
	Kind    string
	Removed int64
	Swept   time.Time // when all rows had been looked at the last time; zero: never
	Expires time.Time // a lease after the last batch
}

const retainedSQL = `select subject, removed, coalesce(swept_at, '0001-01-01Z'), expires_at from modulo.retention order by subject`

// Retained lists the kinds that were ever removed.
func (db *DB) Retained(ctx context.Context) ([]Retained, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, retainedSQL)
	if err != nil {
		return nil, fmt.Errorf("look at retention: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Retained])
	return list, wrap("look at retention", err)
}
