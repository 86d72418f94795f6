package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// OutboxTable is our own table: its trigger is there from the start, and is enabled as soon as a job listens.
const OutboxTable = "modulo.outbox"

const (
	// triggerLockTimeout bounds how long writers queue behind us while we wait for the transactions that have the table.
	triggerLockTimeout = "100ms"
	firstLockPause     = 500 * time.Millisecond
	lastLockPause      = time.Minute
)

// Announce implements jobs.Wakeups: it enables the trigger of modulo.outbox and reports what is missing on other
// tables, as a *Problem each. While the table is busy it tries again, until ctx ends.
func (w *Wakeups) Announce(ctx context.Context) error {
	return errors.Join(w.eachTable(func(job *jobs.Job) error {
		return wrap("announce inserts into "+job.Source.Table, w.db.announce(ctx, job))
	})...)
}

// eachTable does something with one job of each table, and returns what went wrong.
func (w *Wakeups) eachTable(do func(*jobs.Job) error) (problems []error) {
	var seen []string
	for _, job := range w.Jobs {
		if !slices.Contains(seen, job.Source.Table) {
			seen = append(seen, job.Source.Table)
			problems = append(problems, do(job))
		}
	}
	return problems
}

func (db *DB) announce(ctx context.Context, job *jobs.Job) error {
	for pause := firstLockPause; ; pause = min(2*pause, lastLockPause) {
		t, err := db.lookUpTrigger(ctx, job.Source.Table)
		if err != nil || t.enabled {
			return err
		}
		if t.disabled == "" || t.payload != OutboxTable {
			return t.problem()
		}
		err = db.enableTrigger(ctx, t)
		if hasCode(err, codeInsufficientPrivilege) {
			return t.problem()
		}
		if err == nil || !hasCode(err, codeLockNotAvailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// trigger is what makes inserts into a table notify.
type trigger struct {
	table    string // in SQL
	payload  string // how its notifications call the table
	enabled  bool
	disabled string // name of one that is there, but disabled
}

// lookUpTriggerSQL looks at statement-level triggers for inserts or updates: for each row, one on a partitioned table would
// name the partition.
const lookUpTriggerSQL = `
select n.nspname, c.relname,
  coalesce(bool_or(t.tgenabled in ('O', 'A')), false), coalesce(min(t.tgname) filter (where t.tgenabled not in ('O', 'A')), '')
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
left join pg_trigger as t on t.tgrelid = c.oid and t.tgfoid = to_regproc('modulo.notify_rows')
  and t.tgtype::int & 1 = 0 and t.tgtype::int & 20 <> 0
where c.oid = to_regclass($1)
group by n.nspname, c.relname`

func (db *DB) lookUpTrigger(ctx context.Context, table string) (trigger, error) {
	name, err := parseName(table)
	if err != nil {
		return trigger{}, err
	}
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var t trigger
	var schema, relation string
	err = db.pool.QueryRow(ctx, lookUpTriggerSQL, name.Sanitize()).Scan(&schema, &relation, &t.enabled, &t.disabled)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, fmt.Errorf("table %s does not exist", table)
	}
	t.table, t.payload = quoteName(schema, relation), schema+"."+relation
	return t, wrap("look up triggers", err)
}

// problem says which statement is missing.
func (t trigger) problem() *Problem {
	p := &Problem{Where: "listen", What: "inserts into " + t.table + " wake nobody", Do: t.enableSQL()}
	if t.disabled == "" {
		p.Do = "create trigger modulo_rows after insert on " + t.table + " for each statement execute function modulo.notify_rows()"
	}
	return p
}

func (t trigger) enableSQL() string {
	return "alter table " + t.table + " enable trigger " + quoteName(t.disabled)
}

func (db *DB) enableTrigger(ctx context.Context, t trigger) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local lock_timeout = '"+triggerLockTimeout+"'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, t.enableSQL())
		return err
	})
	return wrap("enable trigger "+t.disabled, err)
}
