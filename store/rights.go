package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// missingRightsSQL leaves out the record of migrations, tables that are not ours, and of modulo.outbox, which is the table of a
// job, what OpenSource looks at. Rows of the audit and of the outbox are deleted by retention only: $1 are the tables where it does so.
const missingRightsSQL = `select m.needed, quote_ident(current_user) from (
select c.relname, string_agg(p.name, ', ' order by p.n) || ' on modulo.' || c.relname as needed
from pg_class as c, unnest(array['select', 'insert', 'update', 'delete']) with ordinality as p (name, n)
where c.relnamespace = 'modulo'::regnamespace and c.relkind in ('r', 'p')
  and c.relname in ('jobs', 'instances', 'workers', 'failures', 'tokens', 'audit', 'progress', 'retention', 'passes', 'outbox')
  and (p.name <> 'delete' or c.relname not in ('audit', 'progress', 'retention', 'outbox') or c.relname = any($1::text[]))
  and (p.name = 'delete' or c.relname <> 'outbox') and not has_table_privilege(c.oid, p.name)
group by c.relname
union all
select null, 'usage on sequence modulo.epoch' where not ` + mayNumberSQL + `
) as m order by m.relname nulls last`

// mayNumberSQL says whether the role may give out epochs. To plan a statement that does so needs no right.
const mayNumberSQL = `has_sequence_privilege('modulo.epoch', 'usage, update')`

// MissingRight is a right that the role lacks, as in "insert, update on modulo.audit", and the statement that grants it.
type MissingRight struct{ Right, Grant string }

// MissingRights are what the role lacks on tables and sequence of the schema; retention says of which kinds of rows (done,
// audit) it is to delete the old ones. Other rights on the tables of jobs are what OpenSource looks at.
func (db *DB) MissingRights(ctx context.Context, retention []string) ([]MissingRight, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var swept []string
	for _, kind := range retention {
		switch kind {
		case kindDone:
			swept = append(swept, "outbox")
		case kindAudit:
			swept = append(swept, "audit")
		}
	}
	rows, err := db.pool.Query(ctx, missingRightsSQL, swept)
	if err != nil {
		return nil, fmt.Errorf("look at rights: %w", err)
	}
	missing, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m MissingRight, err error) {
		var role string
		err = row.Scan(&m.Right, &role)
		m.Grant = "grant " + m.Right + " to " + role
		return m, err
	})
	return missing, wrap("look at rights", err)
}

// CheckEpochs returns a *Problem if the role may not number owners, which whoever runs workers has to, and nobody else.
func (db *DB) CheckEpochs(ctx context.Context) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	may, role := false, ""
	if err := db.pool.QueryRow(ctx, "select "+mayNumberSQL+", current_user").Scan(&may, &role); err != nil {
		return fmt.Errorf("look at rights: %w", err)
	}
	if may {
		return nil
	}
	return &Problem{
		Where: "rights", What: "role " + role + " may not use sequence modulo.epoch",
		Do: "grant usage on sequence modulo.epoch to " + quoteName(role) + "; `modulo doctor` says what else is missing",
	}
}
