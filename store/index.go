package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// smallTable is the size in pages below which any plan is fast.
const smallTable = 64

// index warns where no index holds the pending rows in the order of their ids, and says which one would.
func (c *sourceCheck) index(ctx context.Context, s *Source) error {
	if c.table.Pages < smallTable {
		return nil
	}
	served := false
	err := c.db.rolledBack(ctx, func(ctx context.Context, tx pgx.Tx) error {
		plan, err := orderedPlan(ctx, tx, s)
		if err != nil {
			return err
		}
		served, err = c.servedBy(ctx, tx, plan)
		return err
	})
	if err != nil || served {
		return wrap("look for an index", err)
	}
	where := strings.TrimSpace(c.job.Source.Where)
	on := fmt.Sprintf("on %s (%s) where (%s)", s.sql.table, s.sql.id, where)
	if strings.Contains(where, "--") {
		on = fmt.Sprintf("on %s (%s) where (\n%s\n)", s.sql.table, s.sql.id, where)
	}
	do := "create index concurrently " + on
	indexable, err := c.indexable(ctx, s)
	switch {
	case err != nil:
		return wrap("look for an index", err)
	case !indexable:
		do = fmt.Sprintf("create index concurrently on %s (%s) where (the part of source.where that calls no function like now())",
			s.sql.table, s.sql.id)
	case c.table.Partitioned:
		do = "create index " + on + "; it blocks writers while it is built, so on large partitions build it concurrently on " +
			"each one and attach it"
	}
	c.warn("source.table", do, "no index serves the fetch: each one walks rows that are done")
	return nil
}

// orderedPlan asks how the fetch would run if it had to use an index that gives the order.
func orderedPlan(ctx context.Context, tx pgx.Tx, s *Source) (planNode, error) {
	const hints = `set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off;
set local max_parallel_workers_per_gather = 0`
	if _, err := tx.Exec(ctx, hints, pgx.QueryExecModeSimpleProtocol); err != nil {
		return planNode{}, err
	}
	var text string
	fetch := "explain (format json) " + s.sql.fetch(jobs.Shard{Of: 1})
	if err := tx.QueryRow(ctx, fetch, pgx.QueryExecModeExec, int64(jobs.FirstID), int64(s.sql.batch)).Scan(&text); err != nil {
		return planNode{}, err
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		return planNode{}, err
	}
	return plans[0].Plan, nil
}

// planNode is what we read of explain's JSON.
type planNode struct {
	Type  string `json:"Node Type"`
	Alias string
	Index string `json:"Index Name"`
	Plans []planNode
}

// scans returns the nodes that read the source table or its partitions, and whether anything is sorted.
func (n planNode) scans() (scans []planNode, sorted bool) {
	if n.Alias == "t" || strings.HasPrefix(n.Alias, "t_") {
		scans = append(scans, n)
	}
	sorted = n.Type == "Sort" || n.Type == "Incremental Sort"
	for _, child := range n.Plans {
		s, o := child.scans()
		scans, sorted = append(scans, s...), sorted || o
	}
	return scans, sorted
}

// indexes are those by which the plan reads the source table in order. It is not ordered if it sorts, or reads a table whole.
func (n planNode) indexes() (names []string, ordered bool) {
	scans, sorted := n.scans()
	for _, scan := range scans {
		if scan.Index == "" || sorted {
			return nil, false
		}
		names = append(names, scan.Index)
	}
	return names, !sorted
}

// servedBy says whether every index of the plan holds little else than pending rows: it has a condition, or columns
// before the id.
func (c *sourceCheck) servedBy(ctx context.Context, tx pgx.Tx, plan planNode) (bool, error) {
	const whollySQL = `
select count(*) from pg_index as i
join pg_class as x on x.oid = i.indexrelid
join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where x.relname = any($1::text[]) and a.attname = $2 and i.indpred is null
  and (i.indrelid = $3 or i.indrelid in (select p.relid from pg_partition_tree($3) as p))`
	names, ordered := plan.indexes()
	if !ordered {
		return false, nil
	}
	var wholly int
	err := tx.QueryRow(ctx, whollySQL, names, c.job.Source.ID, c.table.oid).Scan(&wholly)
	return wholly == 0, err
}

// indexable says whether an index can have the criteria as its condition, by trying it on an empty copy.
func (c *sourceCheck) indexable(ctx context.Context, s *Source) (bool, error) {
	err := c.db.rolledBack(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "create temporary table modulo_trial (like "+s.sql.table+")"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf("create index on modulo_trial (%s) where (\n%s\n)", s.sql.id, s.sql.where))
		return err
	})
	if IsUnreachable(err) {
		return false, err
	}
	return err == nil || hasCode(err, codeInsufficientPrivilege), nil
}
