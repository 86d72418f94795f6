package testservers

import (
	"context"

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
