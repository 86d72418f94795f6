package testservers

import (
	"context"
	"net/url"
	"os"
	"path"
	"testing"

	"modulo/internal/local"
)

// pgbouncerVariable puts PgBouncer between the program and every shared database of the tests.
const pgbouncerVariable = "MODULO_TEST_PGBOUNCER"

// Seen is how the program under test reaches a database of Database: as it is or, with MODULO_TEST_PGBOUNCER set,
// through PgBouncer in transaction mode. The test's own connections, and migrations, are direct.
func Seen(t testing.TB, databaseURL string) string {
	t.Helper()
	if os.Getenv(pgbouncerVariable) == "" {
		return databaseURL
	}
	return Pooled(t, databaseURL)
}

// Pooled is the URL that leads to a database of Database through a PgBouncer in transaction mode, which the tests of
// this binary share.
func Pooled(t testing.TB, databaseURL string) string {
	t.Helper()
	address, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	pooler, err := shared.pgbouncer()
	if err != nil {
		t.Fatal(err)
	}
	return pooler.URL(path.Base(address.Path))
}

func (s *servers) pgbouncer() (*local.PgBouncer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pooler != nil {
		return s.pooler, nil
	}
	dir, err := s.folder("pgbouncer")
	if err != nil {
		return nil, err
	}
	s.pooler, err = local.StartPgBouncer(context.Background(), dir, s.postgres) // which made the database
	return s.pooler, err
}

// OwnPgBouncer starts a PgBouncer for this test alone, in front of a server of its own or of the shared one where that
// is nil.
func OwnPgBouncer(t testing.TB, server *local.Postgres, settings ...string) *local.PgBouncer {
	t.Helper()
	if server == nil {
		var err error
		if server, err = shared.database(template); err != nil {
			t.Fatal(err)
		}
	}
	pooler, err := local.StartPgBouncer(t.Context(), folder(t), server, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Stop(); err != nil {
			t.Error(err)
		}
	})
	return pooler
}
