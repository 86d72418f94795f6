package store

import (
	"context"
	"slices"
	"strings"
)

// Guess is what a table's columns suggest for a job's source. Empty fields mean that nothing suggests itself.
type Guess struct {
	ID      string
	Where   string
	DoneSet string
}

// Names that tables give to the mark of a row that is done, most telling first.
var (
	doneTimes = []string{"sent_at", "published_at", "dispatched_at", "delivered_at", "processed_at", "exported_at",
		"transmitted_at", "handled_at", "completed_at", "done_at"}
	doneFlags = []string{"sent", "published", "dispatched", "delivered", "processed", "exported", "transmitted",
		"handled", "done"}
	statusNames  = []string{"status", "state"}
	pendingWords = []string{"pending", "new", "ready", "open", "created", "approved", "initial", "queued", "todo", "unsent"}
	doneWords    = []string{"sent", "published", "dispatched", "delivered", "processed", "exported", "done", "completed", "finished"}
)

// Describe reads a table and guesses how a job could use it. A *Problem says that there is no such table.
func (db *DB) Describe(ctx context.Context, name string) (*Table, Guess, error) {
	table, err := db.lookUpTable(ctx, name)
	if err != nil {
		return nil, Guess{}, err
	}
	guess := Guess{ID: guessID(table)}
	if guess.Where, guess.DoneSet = guessByColumn(table); guess.Where != "" {
		return table, guess, nil
	}
	for _, name := range statusNames {
		column := table.Column(name)
		if column == nil {
			continue
		}
		values, err := db.values(ctx, table, column)
		if err != nil {
			return nil, Guess{}, err
		}
		pending, done := firstOf(pendingWords, values), firstOf(doneWords, values)
		if pending != "" && done != "" {
			guess.Where = name + " = " + quoteText(pending)
			guess.DoneSet = name + " = " + quoteText(done)
			return table, guess, nil
		}
	}
	return table, guess, nil
}

// guessID takes the integer that is unique by itself, the primary key before others.
func guessID(table *Table) string {
	for _, key := range table.uniqueKeys {
		if len(key) == 1 && slices.Contains(integerTypes, table.Column(key[0]).baseType) {
			return key[0]
		}
	}
	return ""
}

func guessByColumn(table *Table) (where, doneSet string) {
	for _, name := range doneTimes {
		if c := table.Column(name); c != nil && !c.NotNull && strings.HasPrefix(c.baseType, "timestamp") {
			return name + " is null", name + " = now()"
		}
	}
	for _, name := range doneFlags {
		if c := table.Column(name); c != nil && c.baseType == "bool" {
			if c.NotNull {
				return "not " + name, name + " = true"
			}
			return name + " is not true", name + " = true"
		}
	}
	return "", ""
}

// values lists the values of an enum, or those that analyze found to be frequent.
func (db *DB) values(ctx context.Context, table *Table, column *Column) ([]string, error) {
	const valuesSQL = `
select e.enumlabel::text from pg_enum as e join pg_type as t on t.oid = e.enumtypid
join pg_attribute as a on a.atttypid = t.oid where a.attrelid = $1 and a.attname = $2
union
select unnest(s.most_common_vals::text::text[]) from pg_stats as s
where s.schemaname = $3 and s.tablename = $4 and s.attname = $2`
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var values []string
	err := db.pool.QueryRow(ctx, "select coalesce(array_agg(v), '{}') from ("+valuesSQL+") as all_values (v)",
		table.oid, column.Name, table.Schema, table.Name).Scan(&values)
	return values, wrap("describe "+table.quoted(), err)
}

// firstOf returns the value that is the first of the words, whatever its case.
func firstOf(words, values []string) string {
	for _, word := range words {
		if i := slices.IndexFunc(values, func(v string) bool { return strings.EqualFold(v, word) }); i >= 0 {
			return values[i]
		}
	}
	return ""
}
