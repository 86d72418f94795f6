package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"modulo/jobs"
)

var integerTypes = []string{"int2", "int4", "int8"} // as pg_type names them

// sourceCheck collects what is wrong with a job's table.
type sourceCheck struct {
	db       *DB
	job      *jobs.Job
	table    *Table
	errors   []error
	warnings []*Problem
}

func (c *sourceCheck) fail(where, do, what string, args ...any) {
	c.errors = append(c.errors, &Problem{Where: where, What: fmt.Sprintf(what, args...), Do: do})
}

func (c *sourceCheck) warn(where, do, what string, args ...any) {
	c.warnings = append(c.warnings, &Problem{Where: where, What: fmt.Sprintf(what, args...), Do: do})
}

// run goes from names to fragments to whole statements, each only where the one before is sound, so that a mistake
// is told once. Its own error means that the database could not be asked.
func (c *sourceCheck) run(ctx context.Context) (*Source, error) {
	if c.kind(); len(c.errors) > 0 {
		return nil, nil
	}
	c.id()
	if c.columns(); len(c.errors) > 0 {
		return nil, nil
	}
	if err := c.fragments(ctx); err != nil || len(c.errors) > 0 {
		return nil, err
	}
	binary, err := c.payloadIsBinary(ctx)
	if err != nil || len(c.errors) > 0 {
		return nil, err
	}
	source := newSource(c.db, c.job, c.table, binary)
	if err := c.statements(ctx, source); err != nil || len(c.errors) > 0 {
		return nil, err
	}
	if err := c.tryDone(ctx, source); err != nil || len(c.errors) > 0 {
		return nil, err
	}
	return source, c.index(ctx, source)
}

// kind accepts what can have a unique index: a view hides whether its ids are unique.
func (c *sourceCheck) kind() {
	if c.table.kind != "r" && c.table.kind != "p" {
		what := map[string]string{"v": "a view", "m": "a materialized view", "f": "a foreign table"}[c.table.kind]
		c.fail("source.table", "name the table itself and put conditions into source.where", "%s is %s",
			c.job.Source.Table, orDefault(what, "not a table"))
	}
	if c.table.rowSecurity {
		c.warn("source.table", "let a policy show the role all rows that are pending",
			"row-level security is active for role %s: rows it hides are never sent", c.table.role)
	}
}

// id checks that it is an integer and that no two rows share one: marking a row by its id must not mark another.
func (c *sourceCheck) id() {
	name := c.job.Source.ID
	column := c.table.Column(name)
	if column == nil {
		return // columns reports it
	}
	if !slices.Contains(integerTypes, column.baseType) {
		c.fail("source.id", "name a column of type smallint, integer or bigint", "column %s is %s, not an integer", name, column.Type)
	}
	if !column.NotNull {
		c.warn("source.id", fmt.Sprintf("alter table %s alter column %s set not null", c.table.quoted(), quoteName(name)),
			"column %s can be null: such rows are never sent", name)
	}
	unique := slices.ContainsFunc(c.table.uniqueKeys, func(key []string) bool { return slices.Equal(key, []string{name}) })
	inKey := slices.ContainsFunc(c.table.uniqueKeys, func(key []string) bool { return slices.Contains(key, name) })
	switch {
	case unique:
	case c.table.Partitioned && column.Identity && inKey:
		c.warn("source.id", "see that nobody inserts ids of their own",
			"column %s is an identity, but nothing enforces that it is unique across partitions", name)
	default:
		do := fmt.Sprintf("create unique index concurrently on %s (%s)", c.table.quoted(), quoteName(name))
		if c.table.Partitioned {
			do = "make it an identity and part of the primary key, or partition by it"
		}
		c.fail("source.id", do, "column %s is not unique by itself: no primary key or unique index has it alone", name)
	}
}

// columns checks the names of the job and the right to read them.
func (c *sourceCheck) columns() {
	named := [][2]string{{"source.id", c.job.Source.ID}, {"source.shard_by", c.job.Source.ShardBy}}
	named = append(named, [2]string{"message.payload", c.job.Message.Payload.Column})
	for _, name := range c.job.Message.Payload.Columns {
		named = append(named, [2]string{"message.columns", name})
	}
	for _, name := range c.job.Message.Fields() {
		named = append(named, [2]string{"message", name})
	}
	var secret []string
	for _, n := range named {
		where, name := n[0], n[1]
		if name == "" {
			continue
		}
		column := c.table.Column(name)
		switch {
		case column == nil:
			c.fail(where, c.similarColumn(name), "%s has no column %s", c.table.quoted(), name)
		case !column.selectable && !slices.Contains(secret, quoteName(name)):
			secret = append(secret, quoteName(name))
		}
	}
	if len(secret) > 0 {
		list := strings.Join(secret, ", ")
		c.fail("rights", fmt.Sprintf("grant select (%s) on %s to %s", list, c.table.quoted(), quoteName(c.table.role)),
			"role %s may not read %s", c.table.role, list)
	}
	if key := c.table.Column(c.job.Source.ShardBy); key != nil {
		c.shardKey(key)
	}
	h := c.table.Column(c.job.Message.HeadersColumn)
	if h != nil && !slices.Contains([]string{"json", "jsonb", "text"}, h.baseType) {
		c.fail("message.headers", "name a json or jsonb column", "column %s is %s, not json", h.Name, h.Type)
	}
}

// shardKey checks that rows with equal keys get one worker, whichever session looks: the worker is picked by the key's text.
func (c *sourceCheck) shardKey(key *Column) {
	const where, do = "source.shard_by", "choose a column of an integer, text, uuid, boolean or enum type"
	switch {
	case !key.fixedText:
		c.fail(where, do, "the text of %s (%s) depends on settings of the session, so two workers could own a row", key.Name, key.Type)
	case !key.exactText:
		c.fail(where, do, "values of %s (%s) can be equal and have different texts, so rows of one key could go to two workers", key.Name, key.Type)
	}
}

func (c *sourceCheck) similarColumn(name string) string {
	all := make([]string, len(c.table.Columns))
	for i, column := range c.table.Columns {
		if strings.EqualFold(column.Name, name) {
			return "did you mean " + column.Name + "?"
		}
		all[i] = column.Name
	}
	return "name one of " + strings.Join(all, ", ")
}

// fragments checks each piece of the operator's SQL by itself, so that a mistake is told where it was made.
func (c *sourceCheck) fragments(ctx context.Context) error {
	table := c.table.quoted()
	type piece struct{ where, sql, statement string }
	pieces := []piece{
		{"source.where", c.job.Source.Where, "select from " + table + " as t where (\n%s\n)"},
		{"done.set", c.job.Source.DoneSet, "update " + table + " as t set\n%s\nwhere false"},
	}
	if p := c.job.Message.Payload; !p.Row && p.Column == "" {
		pieces = append(pieces, piece{"message.payload", p.SQL, "select (\n%s\n) from " + table + " as t"})
	}
	for _, p := range pieces {
		if err := checkFragment(p.sql); err != nil {
			c.fail(p.where, "correct it", "%q %v", p.sql, err)
			continue
		}
		if err := c.explain(ctx, p.where, fmt.Sprintf(p.statement, p.sql)); err != nil {
			return err
		}
	}
	return nil
}

// explain lets the server parse, plan and check the rights of a statement without running it. It reports what the
// server refuses; its error means that the server could not be asked.
func (c *sourceCheck) explain(ctx context.Context, where, statement string, args ...any) error {
	ctx, cancel := c.db.bounded(ctx)
	defer cancel()
	_, err := c.db.pool.Exec(ctx, "explain "+statement, append([]any{pgx.QueryExecModeExec}, args...)...)
	refused, answered := errors.AsType[*pgconn.PgError](err)
	if !answered || IsUnreachable(err) {
		return err
	}
	if refused.Code == codeInsufficientPrivilege {
		c.fail("rights", c.grant(where), "role %s: %s, needed for %s", c.table.role, refused.Message, where)
	} else {
		c.fail(where, "correct it", "%s", message(err))
	}
	return nil
}

func (c *sourceCheck) grant(where string) string {
	role := quoteName(c.table.role)
	switch where {
	case "modulo.failures", "ownership", "tokens":
		return "grant usage on schema modulo to " + role + "; grant select, insert, update, delete on all tables in schema modulo to " + role +
			"; grant usage on sequence modulo.epoch to " + role
	case "done.set":
		return fmt.Sprintf("grant select, update on %s to %s", c.table.quoted(), role)
	}
	return fmt.Sprintf("grant select on %s to %s", c.table.quoted(), role)
}

// payloadIsBinary describes the payload: bytea becomes a BytesMessage.
func (c *sourceCheck) payloadIsBinary(ctx context.Context) (bool, error) {
	ctx, cancel := c.db.bounded(ctx)
	defer cancel()
	conn, err := c.db.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	statement := "select " + payloadSQL(c.job.Message.Payload) + " from " + c.table.quoted() + " as t"
	description, err := conn.Conn().PgConn().Prepare(ctx, "", statement, nil)
	if err != nil {
		return false, fmt.Errorf("describe payload: %w", err)
	}
	return description.Fields[0].DataTypeOID == byteaOID, nil
}

// statements has the server check each statement as it will be run. Rights on the table are settled before, so what
// is missing in the first ones are rights on our own.
func (c *sourceCheck) statements(ctx context.Context, s *Source) error {
	ids, none, nobody := []int64{}, int64(0), uuid.Nil.String()
	for _, statement := range []struct {
		where, sql string
		args       []any
	}{
		{"modulo.failures", s.clear, []any{ids}},
		{"modulo.failures", s.park, parkArguments(jobs.Shard{}, none, []jobs.Failure{{}})},
		{"modulo.failures", s.due, []any{none + 2, none + 1, none, none}},
		{"modulo.failures", s.settle, []any{ids, none, none, none}},
		{"ownership", createJobSQL, []any{"", none, false}},
		{"ownership", joinSQL, []any{nobody, "", none, "", []string{}, none, 0.0}},
		{"ownership", reapSQL, nil},
		{"ownership", acquireSQL, []any{"", nobody, none}},
		{"ownership", moveSQL, []any{[]string{}, none, 0.0, 0, false}},
		{"ownership", nextGenerationSQL, []any{"", none}},
		{"source", s.sql.fetch(jobs.Shard{Number: 1, Of: 2}), []any{none, none}},
		{"source", s.pending, []any{ids, none, none}},
		{"done.set", s.mark, []any{ids, none, none, none}},
		{"tokens", claimTokenSQL, []any{"", none, none, ""}},
	} {
		if err := c.explain(ctx, statement.where, statement.sql, statement.args...); err != nil || len(c.errors) > 0 {
			return err
		}
	}
	return nil
}
