package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// Source is the table of a job, checked, with its SQL. Safe for concurrent use.
type Source struct {
	db      *DB
	table   *Table
	sql     statements
	binary  bool // the payload is bytea
	created bool // there is a created_at that tells a row's age

	// Texts of sql that do not depend on the worker.
	due, clear, pending, mark, settle, park, front, waiting string
	fetchFormats, dueFormats                                pgx.QueryResultFormats
}

// OpenSource checks a job against its real table and builds its SQL. The error joins a *Problem for everything that is
// wrong, or says that the database could not be asked. The warnings are what works, but not well.
// It changes nothing: the done statement is tried on one row in a transaction that is rolled back.
func (db *DB) OpenSource(ctx context.Context, job *jobs.Job) (*Source, []*Problem, error) {
	table, err := db.lookUpTable(ctx, job.Source.Table)
	if err != nil {
		return nil, nil, err
	}
	check := &sourceCheck{db: db, job: job, table: table}
	source, err := check.run(ctx)
	if err = errors.Join(append(check.errors, err)...); err != nil {
		return nil, check.warnings, err
	}
	return source, check.warnings, nil
}

// newSource builds the SQL of a job whose names exist in the table.
func newSource(db *DB, job *jobs.Job, table *Table, binary bool) *Source {
	s := &Source{db: db, table: table, binary: binary, created: tellsAge(table), sql: newStatements(job, table, binary)}
	s.sql.timeline = db.timeline
	s.due, s.clear, s.pending = s.sql.due(), s.sql.clear(), s.sql.pending()
	s.mark, s.settle, s.park = s.sql.mark(), s.sql.settle(), s.sql.park()
	s.front, s.waiting = s.sql.front(), s.sql.waiting()
	s.fetchFormats, s.dueFormats = resultFormats(fetchHead, len(s.sql.fields), binary), resultFormats(dueHead, len(s.sql.fields), binary)
	return s
}

func newStatements(job *jobs.Job, table *Table, binary bool) statements {
	s := statements{
		job:     job.Name,
		table:   table.quoted(),
		id:      quoteName(job.Source.ID),
		where:   job.Source.Where,
		doneSet: job.Source.DoneSet,
		ordered: job.Ordered,
		batch:   job.Batch,
		age:     "null::float8",
	}
	if c := table.Column("created_at"); tellsAge(table) && c.baseType == "timestamptz" {
		// By the time of the first row: a clock read once. The difference of numbers: that of times is an error for infinity.
		s.age = "(select date_part('epoch', clock_timestamp())) - date_part('epoch', t.created_at)"
	}
	if job.Source.ShardBy != "" {
		s.key = quoteName(job.Source.ShardBy)
	}
	for _, field := range job.Message.Fields() {
		s.fields = append(s.fields, quoteName(field))
	}
	s.payload = payloadSQL(job.Message.Payload)
	if !binary && !job.Message.Payload.Row {
		s.payload = "(" + s.payload + ")::text"
	}
	return s
}

// tellsAge says whether there is a created_at that tells when a row was inserted.
func tellsAge(table *Table) bool {
	c := table.Column("created_at")
	return c != nil && (c.baseType == "timestamptz" || c.baseType == "timestamp") && c.selectable
}

// payloadSQL is the expression of the body in its own type.
func payloadSQL(p jobs.Payload) string {
	switch {
	case p.Row:
		return rowJSON(p.Columns)
	case p.Column != "":
		return "t." + quoteName(p.Column)
	}
	return "(\n" + p.SQL + "\n)"
}

// resultFormats asks for id, age and a bytea payload in binary form and for everything else as text.
func resultFormats(head, fields int, binary bool) pgx.QueryResultFormats {
	formats := make(pgx.QueryResultFormats, head+4+fields)
	formats[head], formats[head+3+fields] = pgx.BinaryFormatCode, pgx.BinaryFormatCode
	if binary {
		formats[head+2] = pgx.BinaryFormatCode
	}
	return formats
}

// Front is the lowest id of a row that any worker of the job could fetch; where there is none, the highest id there is.
func (s *Source) Front(ctx context.Context) (id int64, err error) {
	ctx, cancel := s.db.bounded(ctx)
	defer cancel()
	if err := s.db.pool.QueryRow(ctx, s.front).Scan(&id); err != nil {
		return 0, fmt.Errorf("look for the first pending row of %s: %w", s.sql.job, err)
	}
	return id, nil
}

// Waiting says whether any worker of the job would find rows now, pending or due.
func (s *Source) Waiting(ctx context.Context) (is bool, err error) {
	ctx, cancel := s.db.bounded(ctx)
	defer cancel()
	err = s.db.pool.QueryRow(ctx, s.waiting).Scan(&is)
	return is, wrap("look for rows of job "+s.sql.job, err)
}
