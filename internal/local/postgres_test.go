package local_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"modulo/internal/local"
)

func startPostgres(t *testing.T, cfg local.PostgresConfig) *local.Postgres {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = serverDir(t)
	}
	pg, err := local.StartPostgres(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, pg.Stop()) })
	return pg
}

// query returns the text of a statement's only value; empty if it has none.
func query(ctx context.Context, pg *local.Postgres, sql string) (text string, err error) {
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	err = conn.QueryRow(ctx, sql).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return text, err
}

func mustQuery(t *testing.T, pg *local.Postgres, sql string) string {
	t.Helper()
	text, err := query(t.Context(), pg, sql)
	must(t, err)
	return text
}

func TestPostgresKeepsCommittedRows(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]local.PostgresConfig{"durable": {}, "unsafe": {Unsafe: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := startPostgres(t, cfg)
			mustQuery(t, pg, "create table kept as select 7 as id")
			checkStates(t, pg, func() {
				t.Helper()
				if got := mustQuery(t, pg, "select string_agg(id::text, ',') from kept"); got != "7" {
					t.Errorf("kept %q, want 7", got)
				}
			})
		})
	}
}

func TestPostgresPause(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t, local.PostgresConfig{Unsafe: true})
	checkPause(t, pg, func(ctx context.Context) error { _, err := query(ctx, pg, "select 'here'"); return err })
	checkCrash(t, pg)
}

func TestPostgresSettings(t *testing.T) {
	t.Parallel()
	const durability = "select current_setting('fsync') || current_setting('full_page_writes') || current_setting('synchronous_commit')"
	pg := startPostgres(t, local.PostgresConfig{Settings: []string{"max_connections=17"}})
	if got := mustQuery(t, pg, durability); got != "ononon" {
		t.Errorf("durability of a default server: %s", got)
	}
	if got := mustQuery(t, pg, "show max_connections"); got != "17" {
		t.Errorf("max_connections %s, want 17", got)
	}
	if got := mustQuery(t, pg, "show listen_addresses"); got != "127.0.0.1" {
		t.Errorf("listens on %s", got)
	}
	if got := mustQuery(t, pg, "show unix_socket_directories"); got != "" {
		t.Errorf("has a socket in %s", got)
	}
}

func TestPostgresWantsThePassword(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t, local.PostgresConfig{Unsafe: true})
	config, err := pgx.ParseConfig(pg.URL("postgres"))
	must(t, err)
	config.Password = "guess"
	_, err = pgx.ConnectConfig(t.Context(), config)
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || refused.Code != "28P01" {
		t.Errorf("login with a wrong password: %v", err)
	}
}

func TestPostgresUsesADirectoryAgain(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	first := startPostgres(t, local.PostgresConfig{Dir: dir, Unsafe: true})
	mustQuery(t, first, "create table kept as select 7 as id")
	must(t, first.Stop())
	second := startPostgres(t, local.PostgresConfig{Dir: dir, Unsafe: true})
	if got := mustQuery(t, second, "select string_agg(id::text, ',') from kept"); got != "7" {
		t.Errorf("kept %q, want 7", got)
	}
}

func TestPostgresThatCannotStartTellsWhy(t *testing.T) {
	t.Parallel()
	_, err := local.StartPostgres(t.Context(), local.PostgresConfig{Dir: serverDir(t), Settings: []string{"shared_buffers=few"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
		t.Errorf("error without the server's own words: %v", err)
	}
}

func TestPostgresStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := serverDir(t)
	if _, err := local.StartPostgres(ctx, local.PostgresConfig{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(dir + "/data/postmaster.pid"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a server was started: %v", err)
	}
}
