package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// StartStandby makes a copy of the running server in cfg.Dir and starts it as its standby: it follows by asynchronous
// replication and is read-only until Promote. Its password is that of the primary. With the setting
// "synchronous_standby_names=standby" on the primary its commits wait for the standby.
func (pg *Postgres) StartStandby(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	standby := &Postgres{cfg: cfg, password: pg.password}
	if err := standby.copyOf(ctx, pg); err != nil {
		return nil, fmt.Errorf("copy postgres: %w", err)
	}
	if err := standby.Start(ctx); err != nil {
		return nil, err
	}
	return standby, nil
}

func (pg *Postgres) copyOf(ctx context.Context, primary *Postgres) error {
	if err := pg.locate(); err != nil {
		return err
	}
	if err := os.Mkdir(pg.dataDir(), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(pg.passwordFile(), []byte(pg.password), 0o600); err != nil {
		return err
	}
	if err := giveTo(pg.account, pg.dataDir(), pg.passwordFile()); err != nil {
		return err
	}
	from := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres password=%s application_name=standby", primary.port.number, primary.password)
	return pg.complete(ctx, "pg_basebackup", "--pgdata="+pg.dataDir(), "--dbname="+from, "--write-recovery-conf",
		"--wal-method=stream", "--checkpoint=fast", "--no-sync")
}

// Promote makes a standby a primary, on a timeline of its own, and returns when it takes writes.
func (pg *Postgres) Promote(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return fmt.Errorf("promote postgres: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var promoted bool
	if err := conn.QueryRow(ctx, "select pg_promote()").Scan(&promoted); err != nil {
		return fmt.Errorf("promote postgres: %w", err)
	}
	if !promoted {
		return errors.New("promote postgres: it does not become a primary")
	}
	return nil
}

// Demote makes a stopped or killed server start read-only, as one that waits for a primary to follow.
func (pg *Postgres) Demote() error {
	if pg.run != nil {
		return errors.New("demote postgres: not stopped")
	}
	signal := filepath.Join(pg.dataDir(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return fmt.Errorf("demote postgres: %w", err)
	}
	return giveTo(pg.account, signal)
}
