package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Actor is who changes something, and why. It is recorded with the change.
type Actor struct {
	Who    string // a person as the command line or a login names them, or an instance
	Reason string // optional
}

// Operator changes what all instances agree on, in somebody's name. Every change is recorded in modulo.audit, in its own
// transaction; so is an attempt that was refused.
type Operator struct {
	db    *DB
	actor Actor
}

// As returns the operator that acts for somebody.
func (db *DB) As(actor Actor) *Operator { return &Operator{db, actor} }

// Action is what somebody does, in the words of the audit.
type Action string

const (
	ActionChangeWorkers Action = "change workers"
	ActionAbortChange   Action = "abort change of workers"
	ActionPause         Action = "pause"
	ActionResume        Action = "resume"
	ActionTrigger       Action = "trigger"
	ActionResetTokens   Action = "reset tokens"
	ActionRetry         Action = "retry rows"
	ActionDiscard       Action = "discard rows"
)

// IsRepair says whether it is about failed rows; see Repairing.
func (a Action) IsRepair() bool { return a == ActionRetry || a == ActionDiscard }

// Result is how an action ended. Of ResultRefused and ResultEarly the reason follows, as in "refused: ..."; see Apart.
type Result string

const (
	ResultDone     Result = "done"
	ResultUnderWay Result = "under way"
	ResultNothing  Result = "nothing to change"
	ResultRefused  Result = "refused"
	ResultEarly    Result = "ended early"
)

// reasonMark stands between a result and its reason.
const reasonMark = ": "

// Because is the result with its reason.
func (r Result) Because(why error) Result { return r + reasonMark + Result(why.Error()) }

// Apart takes a result apart: which one it is, and its reason where it has one.
func (r Result) Apart() (result Result, why string) {
	word, why, _ := strings.Cut(string(r), reasonMark)
	return Result(word), why
}

// AuditEntry is one row of modulo.audit.
type AuditEntry struct {
	ID       int64
	At       time.Time
	Who      string
	Action   Action
	Job      string
	Target   string // what of the job, as in "5 -> 8 workers"
	Reason   string
	Result   Result
	Affected int64      // rows, tokens or workers that were changed
	EndedAt  *time.Time // nil: under way
}

// act is what an Operator is about to do.
type act struct {
	action      Action
	job, target string
}

const auditSQL = `insert into modulo.audit (who, action, job, target, reason, result, affected, ended_at)
values ($1, $2, $3, $4, $5, $6, $7, case when $8 then clock_timestamp() end) returning id`

// querier is a connection, a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (o *Operator) note(ctx context.Context, conn querier, a act, result Result, affected int64) (id int64, err error) {
	err = conn.QueryRow(ctx, auditSQL, storable(o.actor.Who), a.action, a.job, storable(a.target), storable(o.actor.Reason),
		storable(string(result)), affected, result != ResultUnderWay).Scan(&id)
	return id, wrap("audit", err)
}

// change is something done in a transaction; it says how much it affected.
type change func(context.Context, pgx.Tx) (int64, error)

// record makes a change and its entry in one transaction.
func (o *Operator) record(ctx context.Context, a act, do change) (affected int64, err error) {
	call, cancel := o.db.bounded(ctx)
	defer cancel()
	err = pgx.BeginFunc(call, o.db.pool, func(tx pgx.Tx) error {
		if affected, err = do(call, tx); err != nil {
			return err
		}
		result := ResultDone
		if affected == 0 {
			result = ResultNothing
		}
		_, err = o.note(call, tx, a, result, affected)
		return err
	})
	if err != nil {
		return 0, o.refused(ctx, a, err)
	}
	return affected, nil
}

// Refusal is an error that says no to a person: the request was understood, and the state of things is against it.
type Refusal interface {
	error
	refusal()
}

// refused records an attempt that was refused, and returns the error; others are returned as they are.
func (o *Operator) refused(ctx context.Context, a act, err error) error {
	no, is := errors.AsType[Refusal](err)
	if !is {
		return fmt.Errorf("%s %s: %w", a.action, a.job, err)
	}
	ctx, cancel := o.db.bounded(ctx)
	defer cancel()
	_, noted := o.note(ctx, o.db.pool, a, ResultRefused.Because(no), 0)
	return errors.Join(err, noted)
}

// AuditFilter picks entries, newest first.
type AuditFilter struct {
	Job    string // empty: all
	Target string // exactly; empty: all
	Before int64  // the last id of the page before; 0: from the newest
	Limit  int
}

// silent is true of a repair whose process is gone: a living one commits a part within seconds.
const silent = `(ended_at is null and progress_at < clock_timestamp() - interval '1 minute')`

const silentResult = `'` + string(ResultEarly) + reasonMark + `no progress for a minute, the process that did it is gone'`

const auditColumns = `id, at, who, action, job, target, reason, case when ` + silent + ` then ` + silentResult + ` else result end, affected,
  case when ` + silent + ` then progress_at else ended_at end`

const listAuditSQL = `select ` + auditColumns + `
from modulo.audit
where ($1::text is null or job = $1) and ($2::text is null or target = $2) and ($3::bigint is null or id < $3)
order by id desc
limit $4`

const getAuditSQL = `select ` + auditColumns + ` from modulo.audit where id = $1`

// Audit lists entries, newest first.
func (db *DB) Audit(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, listAuditSQL, nullIfZero(f.Job), nullIfZero(f.Target), nullIfZero(f.Before), f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list audit: %w", err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[AuditEntry])
	return entries, wrap("list audit", err)
}

// ErrNoEntry says that there is no such entry in modulo.audit.
var ErrNoEntry = errors.New("no such audit entry")

// AuditEntry returns one entry; ErrNoEntry where there is none.
func (db *DB) AuditEntry(ctx context.Context, id int64) (AuditEntry, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, getAuditSQL, id)
	if err != nil {
		return AuditEntry{}, fmt.Errorf("audit entry %d: %w", id, err)
	}
	entry, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[AuditEntry])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoEntry
	}
	return entry, wrap(fmt.Sprintf("audit entry %d", id), err)
}
