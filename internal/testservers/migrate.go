package testservers

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"modulo/store"
)

// migrate applies all migrations to a database.
func migrate(ctx context.Context, url string) error {
	db, err := store.Open(ctx, store.Config{URL: url})
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.MigrateUp(ctx)
	return err
}

// Store opens a migrated database of a test's own as the program does, and a connection beside it.
func Store(t testing.TB) (*store.DB, *pgx.Conn) {
	t.Helper()
	url := Database(t)
	db, err := store.Open(t.Context(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db, Connect(t, url)
}
