package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"modulo/migrations"
)

const (
	versionTable    = "modulo.schema_version"
	bookkeepingFile = "bookkeeping.sql"
	// migrateLockID is "modulo" in ASCII: the advisory lock that lets one process migrate at a time.
	migrateLockID = 0x6d6f64756c6f
	// migrateLockTries, one per second: how long a process waits for another one that migrates.
	migrateLockTries = 600
	// ddlLockTimeout: a migration that waits for a lock makes everybody else queue behind it.
	ddlLockTimeout = "10s"
)

// Migration is one migration of this binary and whether the database has it.
type Migration struct {
	Version   int64
	Name      string // of its file
	Applied   bool
	AppliedAt time.Time
}

// MigrateUp applies what is missing, oldest first, and returns what it applied. Any number of processes may call it
// at once: one works, the others wait. It needs a session of its own, so not PgBouncer in transaction mode, and has no
// deadline but that of ctx.
func (db *DB) MigrateUp(ctx context.Context) ([]Migration, error) {
	var applied []Migration
	err := db.migrate(ctx, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			applied = append(applied, Migration{Version: r.Source.Version, Name: r.Source.Path, Applied: true})
		}
		return err
	})
	if err != nil {
		return applied, fmt.Errorf("migrate up: %w", err)
	}
	return applied, nil
}

// MigrateDown takes back the newest migration and returns it; nil if there was none.
func (db *DB) MigrateDown(ctx context.Context) (*Migration, error) {
	var undone *Migration
	err := db.migrate(ctx, func(p *goose.Provider) error {
		result, err := p.Down(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err == nil {
			undone = &Migration{Version: result.Source.Version, Name: result.Source.Path}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migrate down: %w", err)
	}
	return undone, nil
}

// MigrateStatus lists the migrations of this binary, oldest first. It changes nothing.
func (db *DB) MigrateStatus(ctx context.Context) ([]Migration, error) {
	known, err := knownMigrations(migrations.Files)
	if err != nil {
		return nil, err
	}
	applied, err := db.appliedMigrations(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate status: %w", err)
	}
	for i := range known {
		known[i].AppliedAt, known[i].Applied = applied[known[i].Version]
	}
	return known, nil
}

// migrate calls run with a provider whose lock and version table are ready.
func (db *DB) migrate(ctx context.Context, run func(*goose.Provider) error) error {
	if db.pooled {
		return ErrPooled
	}
	config := db.pool.Config().ConnConfig
	config.RuntimeParams["lock_timeout"] = ddlLockTimeout
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing runs twice, and a kept plan would outlive its table
	dropPlanSettings(config)
	conns := stdlib.OpenDB(*config)
	defer func() { _ = conns.Close() }()

	locker, err := sessionLocker()
	if err != nil {
		return err
	}
	if err := keepBooks(ctx, conns, locker); err != nil {
		return explainConnect(err)
	}
	// An older binary knows no way back from what a newer one has done, and has nothing to add.
	misfit := db.CheckSchema(ctx)
	if schema, ok := errors.AsType[*SchemaError](misfit); ok && schema.State == SchemaNewer {
		return misfit
	}
	// goose's locker counts its tries over its whole life: a new one for the second use.
	if locker, err = sessionLocker(); err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conns, migrations.Files,
		goose.WithTableName(versionTable), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	return run(provider)
}

// sessionLocker polls: a process that waited inside of pg_advisory_lock would hold a snapshot for which another
// one's "create index concurrently" waits in turn.
func sessionLocker() (lock.SessionLocker, error) {
	return lock.NewPostgresSessionLocker(lock.WithLockID(migrateLockID), lock.WithLockTimeout(1, migrateLockTries))
}

// keepBooks creates the schema and the version table. goose would create the table outside of its lock.
func keepBooks(ctx context.Context, conns *sql.DB, locker lock.SessionLocker) (err error) {
	statement, err := fs.ReadFile(migrations.Files, bookkeepingFile)
	if err != nil {
		return err
	}
	conn, err := conns.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := locker.SessionLock(ctx, conn); err != nil {
		return fmt.Errorf("waiting for another process that migrates: %w", err)
	}
	_, execErr := conn.ExecContext(ctx, string(statement))
	return errors.Join(execErr, locker.SessionUnlock(context.WithoutCancel(ctx), conn))
}
