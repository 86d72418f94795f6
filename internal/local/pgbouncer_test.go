package local_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"modulo/internal/local"
)

func startPgBouncer(t *testing.T, pg *local.Postgres) *local.PgBouncer {
	t.Helper()
	b, err := local.StartPgBouncer(t.Context(), serverDir(t), pg)
	must(t, err)
	t.Cleanup(func() { must(t, b.Stop()) })
	return b
}

// In transaction mode a connection of the server is lent for a transaction only: more clients than connections.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t, local.PostgresConfig{Unsafe: true})
	b := startPgBouncer(t, pg)
	checkStates(t, b, func() {
		t.Helper()
		backends := map[int]bool{}
		for range 30 {
			config, err := pgx.ParseConfig(b.URL("postgres"))
			must(t, err)
			config.DefaultQueryExecMode = pgx.QueryExecModeExec
			client, err := pgx.ConnectConfig(t.Context(), config)
			must(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) }) // cut when the pooler stops
			var backend int
			must(t, client.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&backend))
			backends[backend] = true
		}
		if len(backends) > 10 {
			t.Errorf("30 idle clients hold %d connections of the server", len(backends))
		}
	})
	checkPause(t, b, b.Ping)
}
