package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Repair is what a person does about failed rows.
type Repair string

const (
	// RepairRetry makes rows due now, with all their attempts before them. One that was delivered is only marked.
	RepairRetry Repair = "retry"
	// RepairDiscard gives rows up: their workers mark them done without sending them.
	RepairDiscard Repair = "discard"
)

// repairChunk is how many rows one transaction changes: short, so that no worker waits for long.
const repairChunk = 2000

// repairable leaves alone what was discarded, unless its mark was refused and a person tries that again.
const repairable = ` and (discarded_at is null or failed_at is not null)`

const countRepairableSQL = `select count(*), clock_timestamp() from modulo.failures where ` + failureCondition + repairable

const chooseSQL = `select row_id from modulo.failures where ` + failureCondition + repairable + ` order by row_id limit $11`

// repairSQL changes the chosen rows that still are as they were when they were counted. $1 job, $2 row ids, $3 when.
const repairSQL = `update modulo.failures
set %s, failed_at = null, next_attempt_at = clock_timestamp(), updated_at = clock_timestamp()
where job = $1 and row_id = any($2::bigint[]) and updated_at <= $3` + repairable

// repairs are what the audit calls them, and what they do to a chunk.
var repairs = map[Repair]struct {
	action Action
	sql    string
}{
	RepairRetry:   {ActionRetry, fmt.Sprintf(repairSQL, "attempts = 0")},
	RepairDiscard: {ActionDiscard, fmt.Sprintf(repairSQL, "discarded_at = clock_timestamp()")},
}

const progressAuditSQL = `update modulo.audit
set affected = affected + $2, result = $3, progress_at = clock_timestamp(),
  ended_at = case when $3 <> '` + string(ResultUnderWay) + `' then clock_timestamp() end
where id = $1 and ended_at is null`

// oneRepairSQL makes those who begin a repair of a job wait for each other, until the end of the transaction.
const oneRepairSQL = `select pg_advisory_xact_lock(hashtext('modulo.repair'), hashtext($1::text))`

// endSilentSQL ends the repair of a process that is gone: a chunk of it that comes yet is refused.
const endSilentSQL = `update modulo.audit set result = ` + silentResult + `, ended_at = progress_at where job = $1::text and ` + silent

const underWaySQL = `select id, who, action from modulo.audit where job = $1::text and ended_at is null limit 1`

// CountError says that other rows match than those that were looked at.
type CountError struct{ Have, Want int }

func (e *CountError) Error() string {
	return fmt.Sprintf("%d rows match now, not %d: look again", e.Have, e.Want)
}

func (e *CountError) refusal() {}

// RepairingError says that another repair of the job is under way.
type RepairingError struct {
	Job, Who string
	Action   Action
	Entry    int64 // in the audit
}

func (e *RepairingError) Error() string {
	return fmt.Sprintf("%s does %q of job %s at this moment (audit entry %d): wait for its end and look again", e.Who, e.Action, e.Job, e.Entry)
}

func (e *RepairingError) refusal() {}

// errSilent says that a repair was taken for dead meanwhile.
var errSilent = errors.New("no progress for a minute: it was taken for dead, and ended")

// Repairing is a repair under way. It is done chunk by chunk; the audit entry says how far it is, for everybody to see.
type Repairing struct {
	Matched int
	Done    int // rows changed so far; may stay below Matched where workers were faster
	Entry   int64
	Ended   bool

	operator *Operator
	repair   Repair
	filter   FailureFilter
}

// BeginRepair counts the rows that match and writes the audit entry, in one transaction; Next does the work. A *CountError
// says that expect, if one is given, is another number, a *RepairingError that another repair of the job is under way, here
// or elsewhere. Rows that fail after the count are left alone.
func (o *Operator) BeginRepair(ctx context.Context, repair Repair, f FailureFilter, expect *int) (*Repairing, error) {
	if repairs[repair].sql == "" {
		return nil, fmt.Errorf("no such repair: %q", repair)
	}
	f.Limit, f.After = 0, nil
	r := &Repairing{operator: o, repair: repair, filter: f}
	doing := act{repairs[repair].action, f.Job, f.describe()}
	call, cancel := o.db.bounded(ctx)
	defer cancel()
	// Read committed: the count sees what the one before has done while this one waited for the lock.
	err := pgx.BeginTxFunc(call, o.db.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if err := alone(call, tx, f.Job); err != nil {
			return err
		}
		var counted time.Time
		if err := tx.QueryRow(call, countRepairableSQL, f.arguments()...).Scan(&r.Matched, &counted); err != nil {
			return err
		}
		if expect != nil && *expect != r.Matched {
			return &CountError{r.Matched, *expect}
		}
		if f.Until.IsZero() || f.Until.After(counted) {
			r.filter.Until = counted
		}
		result := ResultUnderWay
		if r.Matched == 0 {
			r.Ended, result = true, ResultNothing
		}
		var err error
		r.Entry, err = o.note(call, tx, doing, result, 0)
		return err
	})
	if err != nil {
		return nil, o.refused(ctx, doing, err)
	}
	return r, nil
}

// alone makes sure, for the rest of the transaction, that no other repair of the job is under way.
func alone(ctx context.Context, tx pgx.Tx, job string) error {
	for _, statement := range []string{oneRepairSQL, endSilentSQL} {
		if _, err := tx.Exec(ctx, statement, job); err != nil {
			return err
		}
	}
	other := &RepairingError{Job: job}
	err := tx.QueryRow(ctx, underWaySQL, job).Scan(&other.Entry, &other.Who, &other.Action)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return other
}

// CountRepairable counts the rows of the filter that a repair would change: not those that were given up already.
func (db *DB) CountRepairable(ctx context.Context, f FailureFilter) (int, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	f.After = nil
	var n int
	var at time.Time
	err := db.pool.QueryRow(ctx, countRepairableSQL, f.arguments()...).Scan(&n, &at)
	return n, wrap("count failures "+f.Job, err)
}

// Next changes the next chunk, and says so in the audit entry, in one transaction.
func (r *Repairing) Next(ctx context.Context) error {
	ctx, cancel := r.operator.db.bounded(ctx)
	defer cancel()
	var changed int64
	var last *int64
	err := pgx.BeginFunc(ctx, r.operator.db.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, chooseSQL, append(r.filter.arguments(), repairChunk)...)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		result := ResultDone
		if len(ids) > 0 {
			tag, err := tx.Exec(ctx, repairs[r.repair].sql, r.filter.Job, ids, r.filter.Until)
			if err != nil {
				return err
			}
			changed, last = tag.RowsAffected(), &ids[len(ids)-1]
		}
		if len(ids) == repairChunk {
			result = ResultUnderWay
		} else {
			last = nil
		}
		noted, err := tx.Exec(ctx, progressAuditSQL, r.Entry, changed, result)
		if err == nil && noted.RowsAffected() == 0 {
			err = errSilent
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s failures %s: %w", r.repair, r.filter.Job, err)
	}
	r.Done += int(changed)
	r.filter.After, r.Ended = last, last == nil
	return nil
}

// Wait tells the others that a repair that waits for its turn in this process is not dead.
func (r *Repairing) Wait(ctx context.Context) error {
	ctx, cancel := r.operator.db.bounded(ctx)
	defer cancel()
	_, err := r.operator.db.pool.Exec(ctx, progressAuditSQL, r.Entry, 0, ResultUnderWay)
	return wrap("audit", err)
}

// abortPatience is how long the note that a repair ended early may take.
const abortPatience = 2 * time.Second

// Abort notes that the rest is not done, and why. It works after the end of ctx, too.
func (r *Repairing) Abort(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortPatience)
	defer cancel()
	r.Ended = true
	_, err := r.operator.db.pool.Exec(ctx, progressAuditSQL, r.Entry, 0, storable(string(ResultEarly.Because(why))))
	return wrap("audit", err)
}

// Run does the whole repair, telling of each chunk, and returns how many rows it changed.
func (r *Repairing) Run(ctx context.Context, tell func(*Repairing)) (int, error) {
	for !r.Ended {
		if err := r.Next(ctx); err != nil {
			return r.Done, errors.Join(err, r.Abort(ctx, err))
		}
		tell(r)
	}
	return r.Done, nil
}

// describe says in words what the filter picks, for the audit.
func (f FailureFilter) describe() string {
	if len(f.IDs) == 1 {
		return RowTarget(f.IDs[0])
	}
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	if len(f.IDs) > 0 {
		add("rows", strings.Trim(fmt.Sprint(f.IDs), "[]"))
	}
	add("class", string(f.Class))
	add("state", string(f.State))
	add("key", f.Key)
	add("reason like", f.Pattern)
	add("reason with", f.Contains)
	if !f.Since.IsZero() {
		add("failed since", f.Since.UTC().Format(time.RFC3339))
	}
	if !f.Until.IsZero() {
		add("failed until", f.Until.UTC().Format(time.RFC3339))
	}
	if len(parts) == 0 {
		return "all failed rows"
	}
	return strings.Join(parts, ", ")
}

// MayRepair says whether an entry of the audit, as describe names its rows, is a repair of several rows that may have taken
// this one.
func MayRepair(action Action, target string, id int64) bool {
	if !action.IsRepair() || strings.HasPrefix(target, "row ") {
		return false
	}
	first, _, _ := strings.Cut(target, ", ")
	ids, listed := strings.CutPrefix(first, "rows ")
	return !listed || slices.Contains(strings.Fields(ids), fmt.Sprint(id)) || len(target) >= maxReason // cut
}

// RowTarget is how the audit names a single row.
func RowTarget(id int64) string { return fmt.Sprintf("row %d", id) }
