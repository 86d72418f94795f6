package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Table is a table as the catalog describes it.
type Table struct {
	Schema, Name string
	Columns      []Column
	PrimaryKey   []string
	Rows         float64 // as last estimated by analyze; -1: never
	Pages        int64   // of 8 kB, partitions included
	Partitioned  bool

	oid         uint32
	kind        string // pg_class.relkind
	rowSecurity bool   // policies may hide rows from this role
	role        string // that we are
	uniqueKeys  [][]string
}

// Column is a column of a Table. Type is as SQL writes it.
type Column struct {
	Name, Type string
	NotNull    bool
	Identity   bool

	baseType   string // pg_type.typname below domains
	fixedText  bool   // its text does not depend on settings of the session
	exactText  bool   // values that are equal have one text
	selectable bool   // by this role
}

// quoted is the table's name in SQL.
func (t *Table) quoted() string { return quoteName(t.Schema, t.Name) }

// Column finds a column by name; nil if there is none.
func (t *Table) Column(name string) *Column {
	if i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name }); i >= 0 {
		return &t.Columns[i]
	}
	return nil
}

// parseName splits "schema.table" or "table". A part that begins with a double quote is read as SQL reads it, so that
// it can hold a dot; any other is taken as it is.
func parseName(name string) (pgx.Identifier, error) {
	var parts pgx.Identifier
	for rest, more := name, true; more; {
		part := ""
		if strings.HasPrefix(rest, `"`) {
			token, err := quoted(rest, 0, false)
			if err != nil {
				return nil, fmt.Errorf("%q %w", name, err)
			}
			part = strings.ReplaceAll(token[1:len(token)-1], `""`, `"`)
			rest, more = strings.CutPrefix(rest[len(token):], ".")
			if !more && rest != "" {
				return nil, fmt.Errorf("%q goes on after a quoted name", name)
			}
		} else {
			part, rest, more = strings.Cut(rest, ".")
		}
		if part == "" || strings.Contains(part, "\x00") {
			return nil, fmt.Errorf("%q is not a table name", name)
		}
		parts = append(parts, part)
	}
	if len(parts) > 2 {
		return nil, fmt.Errorf("%q has more parts than schema and table; put a name with a dot in double quotes", name)
	}
	return parts, nil
}

const tableSQL = `
select c.oid, n.nspname, c.relname, c.relkind::text, c.reltuples::float8,
  coalesce((select sum(pg_relation_size(p.relid)) from pg_partition_tree(c.oid) as p), pg_relation_size(c.oid))::bigint / 8192,
  row_security_active(c.oid), current_user::text
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.oid = to_regclass($1)`

const columnsSQL = `
with recursive base as (
  select a.attnum, a.atttypid as type from pg_attribute as a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  union all
  select b.attnum, d.typbasetype from base as b join pg_type as d on d.oid = b.type where d.typtype = 'd'
)
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity <> '',
  d.typname, o.provolatile = 'i' or d.typtype = 'e',
  (d.typtype = 'e' or d.typnamespace = 'pg_catalog'::regnamespace
    and d.typname in ('int2', 'int4', 'int8', 'text', 'varchar', 'bpchar', 'name', 'uuid', 'bool')) and coalesce(l.collisdeterministic, true),
  has_column_privilege(a.attrelid, a.attnum, 'select')
from pg_attribute as a
join base as b on b.attnum = a.attnum
join pg_type as d on d.oid = b.type and d.typtype <> 'd'
join pg_proc as o on o.oid = d.typoutput
left join pg_collation as l on l.oid = a.attcollation
where a.attrelid = $1
order by a.attnum`

// uniqueKeysSQL lists the columns of each unique index, the primary key first.
const uniqueKeysSQL = `
select i.indisprimary, array_agg(a.attname::text order by k.n)
from pg_index as i
cross join lateral unnest(i.indkey) with ordinality as k (attnum, n)
join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null and k.n <= i.indnkeyatts
group by i.indexrelid, i.indisprimary
order by i.indisprimary desc, i.indexrelid`

// lookUpTable reads the catalog. A *Problem says that the name stands for no table that we can see.
func (db *DB) lookUpTable(ctx context.Context, name string) (*Table, error) {
	parts, err := parseName(name)
	if err != nil {
		return nil, &Problem{Where: "source.table", What: err.Error(), Do: `write "schema.table"`}
	}
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	table := &Table{}
	err = db.pool.QueryRow(ctx, tableSQL, parts.Sanitize()).Scan(&table.oid, &table.Schema, &table.Name, &table.kind,
		&table.Rows, &table.Pages, &table.rowSecurity, &table.role)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, db.noTable(ctx, name, parts)
	case hasCode(err, codeInsufficientPrivilege):
		return nil, &Problem{
			Where: "source.table", What: message(err),
			Do: fmt.Sprintf("grant usage on schema %s to the role of the database URL", quoteName(parts[0])),
		}
	case err != nil:
		return nil, fmt.Errorf("look up table %s: %w", name, err)
	}
	table.Partitioned = table.kind == "p"
	if err := db.readColumns(ctx, table); err != nil {
		return nil, fmt.Errorf("look up table %s: %w", name, err)
	}
	return table, nil
}

func (db *DB) readColumns(ctx context.Context, table *Table) error {
	rows, err := db.pool.Query(ctx, columnsSQL, table.oid)
	if err != nil {
		return err
	}
	table.Columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Column, err error) {
		err = row.Scan(&c.Name, &c.Type, &c.NotNull, &c.Identity, &c.baseType, &c.fixedText, &c.exactText, &c.selectable)
		return c, err
	})
	if err != nil {
		return err
	}
	if rows, err = db.pool.Query(ctx, uniqueKeysSQL, table.oid); err != nil {
		return err
	}
	var primary bool
	var columns []string
	_, err = pgx.ForEachRow(rows, []any{&primary, &columns}, func() error {
		if primary {
			table.PrimaryKey = columns
		}
		table.uniqueKeys = append(table.uniqueKeys, columns)
		columns = nil
		return nil
	})
	return err
}

// noTable looks for what may have been meant.
func (db *DB) noTable(ctx context.Context, name string, parts pgx.Identifier) error {
	const similarSQL = `
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and lower(c.relname) = lower($1)
order by 1
limit 5`
	rows, err := db.pool.Query(ctx, similarSQL, parts[len(parts)-1])
	if err != nil {
		return fmt.Errorf("look up table %s: %w", name, err)
	}
	similar, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look up table %s: %w", name, err)
	}
	do := "create it, or name its schema"
	if len(similar) > 0 {
		do = "did you mean " + strings.Join(similar, ", ") + "?"
	}
	return &Problem{Where: "source.table", What: fmt.Sprintf("table %s does not exist", name), Do: do}
}
