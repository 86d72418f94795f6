package store

import (
	"context"
	"fmt"
	"time"

	"modulo/migrations"
)

// SchemaState is how the schema modulo in the database relates to this binary.
type SchemaState string

const (
	SchemaMissing SchemaState = "missing"
	SchemaOlder   SchemaState = "older"
	SchemaNewer   SchemaState = "newer"
)

// SchemaError says that this binary must not run on the database as it is.
type SchemaError struct {
	State      SchemaState
	Have, Want int64 // versions of the database and of this binary
}

func (e *SchemaError) Error() string {
	switch e.State {
	case SchemaMissing:
		return "the database has no schema modulo: run `modulo migrate up`"
	case SchemaOlder:
		return fmt.Sprintf("schema modulo is at version %d, this binary needs %d: run `modulo migrate up`", e.Have, e.Want)
	default:
		return fmt.Sprintf("this binary is older than the schema: it knows version %d of schema modulo, the database is at %d: "+
			"roll out the release of modulo that brought version %d, or a newer one", e.Want, e.Have, e.Have)
	}
}

// CheckSchema returns nil where the database is exactly at the version of this binary, a *SchemaError where it is
// not, and another error where it could not be asked.
func (db *DB) CheckSchema(ctx context.Context) error {
	known, err := knownMigrations(migrations.Files)
	if err != nil {
		return err
	}
	want := known[len(known)-1].Version
	applied, err := db.appliedMigrations(ctx)
	if err != nil {
		return fmt.Errorf("check schema: %w", err)
	}
	var have int64
	for version := range applied {
		have = max(have, version)
	}
	return compareSchema(have, want)
}

func compareSchema(have, want int64) error {
	switch {
	case have == 0:
		return &SchemaError{State: SchemaMissing, Want: want}
	case have < want:
		return &SchemaError{State: SchemaOlder, Have: have, Want: want}
	case have > want:
		return &SchemaError{State: SchemaNewer, Have: have, Want: want}
	}
	return nil
}

// appliedMigrations returns versions and when they were applied; none where there is no version table.
func (db *DB) appliedMigrations(ctx context.Context) (map[int64]time.Time, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, `select version_id, tstamp from modulo.schema_version where is_applied and version_id > 0`)
	if err != nil && !hasCode(err, codeUndefinedTable) {
		return nil, explainConnect(err)
	}
	applied := map[int64]time.Time{}
	for err == nil && rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, err
		}
		applied[version] = at
	}
	if err == nil {
		err = rows.Err()
	}
	if hasCode(err, codeUndefinedTable) {
		return nil, nil
	}
	return applied, explainConnect(err)
}
