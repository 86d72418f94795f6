package store

import (
	"context"
	"errors"
	"fmt"
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

var repairs = map[Repair]string{
	RepairRetry:   fmt.Sprintf(repairSQL, "attempts = 0"),
	RepairDiscard: fmt.Sprintf(repairSQL, "discarded_at = clock_timestamp()"),
}

const progressAuditSQL = `update modulo.audit
set affected = affected + $2, result = $3, ended_at = case when $3 <> '` + ResultUnderWay + `' then clock_timestamp() end
where id = $1`

// CountError says that other rows match than those that were looked at.
type CountError struct{ Have, Want int }

func (e *CountError) Error() string {
	return fmt.Sprintf("%d rows match now, not %d: look again", e.Have, e.Want)
}

func (e *CountError) refusal() {}

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

// BeginRepair counts the rows that match and writes the audit entry; Next does the work. A *CountError says that expect, if
// one is given, is another number. Rows that fail after the count are left alone.
func (o *Operator) BeginRepair(ctx context.Context, repair Repair, f FailureFilter, expect *int) (*Repairing, error) {
	if repairs[repair] == "" {
		return nil, fmt.Errorf("no such repair: %q", repair)
	}
	f.Limit, f.After = 0, nil
	r := &Repairing{operator: o, repair: repair, filter: f}
	call, cancel := o.db.bounded(ctx)
	defer cancel()
	var counted time.Time
	if err := o.db.pool.QueryRow(call, countRepairableSQL, f.arguments()...).Scan(&r.Matched, &counted); err != nil {
		return nil, fmt.Errorf("count failures %s: %w", f.Job, err)
	}
	doing := act{string(repair) + " rows", f.Job, f.describe()}
	if expect != nil && *expect != r.Matched {
		return nil, o.refused(ctx, doing, &CountError{r.Matched, *expect})
	}
	if r.filter.Until.IsZero() || r.filter.Until.After(counted) {
		r.filter.Until = counted
	}
	result := ResultUnderWay
	if r.Matched == 0 {
		r.Ended, result = true, resultNothing
	}
	var err error
	r.Entry, err = o.note(call, o.db.pool, doing, result, 0)
	return r, err
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
			tag, err := tx.Exec(ctx, repairs[r.repair], r.filter.Job, ids, r.filter.Until)
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
		_, err = tx.Exec(ctx, progressAuditSQL, r.Entry, changed, result)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s failures %s: %w", r.repair, r.filter.Job, err)
	}
	r.Done += int(changed)
	r.filter.After, r.Ended = last, last == nil
	return nil
}

// abortPatience is how long the note that a repair ended early may take.
const abortPatience = 2 * time.Second

// Abort notes that the rest is not done, and why. It works after the end of ctx, too.
func (r *Repairing) Abort(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortPatience)
	defer cancel()
	r.Ended = true
	_, err := r.operator.db.pool.Exec(ctx, progressAuditSQL, r.Entry, 0, storable("ended early: "+why.Error()))
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

// RowTarget is how the audit names a single row.
func RowTarget(id int64) string { return fmt.Sprintf("row %d", id) }
