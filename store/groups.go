package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// Bounds of GroupFailures: it reads this many records at most, and returns this many groups.
const (
	groupedRecords = 500_000
	maxGroups      = 100
)

// FailureGroup is failures of one cause: the same class, and the same reason but for the numbers in it.
type FailureGroup struct {
	Class    jobs.Class
	Pattern  string // the reason with "#" for numbers and UUIDs; picks the group as FailureFilter.Pattern
	Rows     int
	Failed   int // of these: wait for a person
	FirstRow int64
	Sample   string // the reason of that row
	FirstAt  time.Time
	LastAt   time.Time
}

// FailureGroups are the largest groups, largest first.
type FailureGroups struct {
	Groups []FailureGroup
	Others int // groups that are not listed
	// Complete is false where reading stopped at the bound: later row ids are not counted.
	Complete bool
}

// groupSQL groups in two steps: by the reason as it is, and then by its pattern, so that the pattern is made once per text.
const groupSQL = `with considered as materialized (
  select error_class, last_error, row_id, failed_at is not null as failed, created_at, updated_at
  from modulo.failures
  where ` + failureCondition + `
  order by row_id
  limit $11
), texts as (
  select error_class, last_error, count(*) as n, count(*) filter (where failed) as failed, min(row_id) as row_id,
    min(created_at) as created_at, max(updated_at) as updated_at
  from considered
  group by error_class, last_error
), groups as (
  select error_class, ` + patternSQL + ` as pattern, sum(n)::bigint as n, sum(failed)::bigint as failed, min(row_id) as row_id,
    min(created_at) as created_at, max(updated_at) as updated_at
  from texts
  group by 1, 2
)
select g.error_class, g.pattern, g.n, g.failed, g.row_id,
  (select left(f.last_error, 1000) from modulo.failures as f where f.job = $1 and f.row_id = g.row_id),
  g.created_at, g.updated_at, count(*) over () as groups, sum(g.n) over ()::bigint as records
from groups as g
order by g.n desc, g.error_class, g.pattern
limit $12`

// GroupFailures groups the records that the filter picks.
func (db *DB) GroupFailures(ctx context.Context, f FailureFilter) (FailureGroups, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	f.After = nil
	rows, err := db.pool.Query(ctx, groupSQL, append(f.arguments(), groupedRecords, maxGroups)...)
	if err != nil {
		return FailureGroups{}, fmt.Errorf("group failures %s: %w", f.Job, err)
	}
	found := FailureGroups{Complete: true}
	var g FailureGroup
	var sample *string // null: the row was repaired meanwhile
	var groups, records int
	_, err = pgx.ForEachRow(rows, []any{&g.Class, &g.Pattern, &g.Rows, &g.Failed, &g.FirstRow, &sample, &g.FirstAt, &g.LastAt, &groups, &records}, func() error {
		g.Sample = g.Pattern
		if sample != nil {
			g.Sample = *sample
		}
		found.Groups = append(found.Groups, g)
		return nil
	})
	if err != nil {
		return FailureGroups{}, fmt.Errorf("group failures %s: %w", f.Job, err)
	}
	found.Others = groups - len(found.Groups)
	found.Complete = records < groupedRecords
	return found, nil
}
