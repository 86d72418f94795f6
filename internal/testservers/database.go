package testservers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"modulo/internal/local"
)

// template is the database that Database copies.
const template = "modulo_template"

// Database is the URL of a fresh database with all migrations applied; it is dropped after the test.
func Database(t testing.TB) string { t.Helper(); return fresh(t, template) }

// EmptyDatabase is the URL of a fresh database without migrations; it is dropped after the test.
func EmptyDatabase(t testing.TB) string { t.Helper(); return fresh(t, "template1") }

func fresh(t testing.TB, copyOf string) string {
	t.Helper()
	pg, err := shared.database(copyOf)
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if err := execute(t.Context(), pg, "create database "+name+" template "+copyOf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := execute(context.Background(), pg, "drop database "+name+" with (force)"); err != nil {
			t.Error(err)
		}
	})
	return pg.URL(name)
}

// Connect opens a connection of the test's own, beside what it tests; it is closed after the test.
func Connect(t testing.TB, databaseURL string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // tests create, drop and deallocate between the calls
	config.RuntimeParams["application_name"] = "test"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // its server may be gone
	return conn
}

// database starts the shared PostgreSQL if need be and sees that the database to copy is there.
func (s *servers) database(copyOf string) (*local.Postgres, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := context.Background() // the server outlives the test that asked first
	if s.postgres == nil {
		dir, err := s.folder("postgres")
		if err != nil {
			return nil, err
		}
		cfg := local.PostgresConfig{Dir: dir, Unsafe: true, Settings: []string{"max_connections=400"}}
		if s.postgres, err = local.StartPostgres(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if copyOf == template && !s.migrated {
		if err := execute(ctx, s.postgres, "create database "+template); err != nil {
			return nil, err
		}
		if err := migrate(ctx, s.postgres.URL(template)); err != nil {
			return nil, fmt.Errorf("migrate template: %w", err)
		}
		s.migrated = true
	}
	return s.postgres, nil
}

// execute runs one statement on the server's maintenance database.
func execute(ctx context.Context, pg *local.Postgres, sql string) (err error) {
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}
