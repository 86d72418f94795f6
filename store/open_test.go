package store_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

func TestOpenErrors(t *testing.T) {
	dbURL := testservers.EmptyDatabase(t)
	for _, variable := range []string{"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"} {
		t.Setenv(variable, "")
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Close() }()
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*url.URL)) string { v := *u; change(&v); return v.String() }
	const secret = "s3cr3t-pa@ss/word?x:y"
	for name, c := range map[string]struct {
		url         string
		unreachable bool
		want        string
	}{
		"wrong password": {with(func(v *url.URL) { v.User = url.UserPassword(u.User.Username(), secret) }), true, "password authentication failed"},
		"no database":    {with(func(v *url.URL) { v.Path = "/nothing" }), true, "does not exist"},
		"nobody listens": {with(func(v *url.URL) { v.Host = "127.0.0.1:1"; v.User = url.UserPassword("u", secret) }), true, "refused"},
		"no answer":      {with(func(v *url.URL) { v.Host = mute.Addr().String(); v.User = url.UserPassword("u", secret) }), true, "deadline exceeded"},
		"raw password":   {"postgres://u:" + secret + "@127.0.0.1:5432/x", false, "database URL"},
		"other scheme":   {"mysql://u:" + secret + "@127.0.0.1/x", false, "database URL"},
		"bad sslmode":    {"postgres://u:pw@127.0.0.1/x?sslmode=s", false, "sslmode"},
		"bad pairs":      {"host=127.0.0.1 password='" + secret, false, "database URL"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := store.Config{URL: c.url}
			if name == "no answer" {
				cfg.StatementTimeout = 2 * time.Second // to be waited for
			}
			db, err := store.Open(t.Context(), cfg)
			if err == nil {
				db.Close()
			}
			wantError(t, err, c.want)
			if store.IsUnreachable(err) != c.unreachable {
				t.Errorf("unreachable: %v, want %v: %v", !c.unreachable, c.unreachable, err)
			}
			for _, part := range []string{"s3cr3t", "pa@ss", "word?x", "ss/word"} {
				if strings.Contains(fmt.Sprint(err), part) {
					t.Errorf("the error shows the password: %v", err)
				}
			}
		})
	}
}

func TestOpenByEnvironment(t *testing.T) {
	u, err := url.Parse(testservers.EmptyDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	t.Setenv("PGHOST", u.Hostname())
	t.Setenv("PGPORT", u.Port())
	t.Setenv("PGUSER", u.User.Username())
	t.Setenv("PGPASSWORD", password)
	t.Setenv("PGDATABASE", u.Path[1:])
	t.Setenv("PGSSLMODE", "disable")
	if err := open(t, store.Config{}).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesReadOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$`)
	_, err := store.Open(t.Context(), store.Config{URL: f.url})
	wantError(t, err, "read-only", "connect to the primary")
	if !store.IsUnreachable(err) {
		t.Errorf("%v: a fail-over may be under way", err)
	}
	open(t, store.Config{URL: f.url + "&target_session_attrs=any"})
}

func TestNextEpoch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var last int64
	for range 3 {
		epoch, err := f.NextEpoch(t.Context())
		if err != nil || epoch <= last {
			t.Fatal(epoch, last, err)
		}
		last = epoch
	}
}

// A call ends by its own deadline, and the database being gone is told from other errors.
func TestOutages(t *testing.T) {
	t.Parallel()
	pg := testservers.OwnPostgres(t)
	conn := testservers.Connect(t, pg.URL("postgres"))
	if _, err := conn.Exec(t.Context(), "create table own (id int primary key, payload text, sent_at timestamptz)"); err != nil {
		t.Fatal(err)
	}
	db := open(t, store.Config{URL: pg.URL("postgres"), StatementTimeout: 5 * time.Second})
	if _, err := db.MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	source, _, err := db.OpenSource(t.Context(), tableJob("own"))
	if err != nil {
		t.Fatal(err)
	}
	worker := source.Worker(jobs.Shard{Of: 1})
	unreachable := func(when string) {
		t.Helper()
		started := time.Now()
		_, err := worker.Fetch(t.Context(), jobs.FirstID)
		if !store.IsUnreachable(err) || time.Since(started) > patience/2 { // long before the default deadline
			t.Errorf("%s: %v after %v", when, err, time.Since(started))
		}
		wantError(t, err, "fetch job/worker 0: ")
	}
	if err := pg.Pause(); err != nil {
		t.Fatal(err)
	}
	unreachable("paused")
	if err := pg.Resume(); err != nil {
		t.Fatal(err)
	}
	within(t, "back after the pause", func() bool { return db.Ping(t.Context()) == nil })
	pg.Kill()
	unreachable("killed")
	if err := pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, "back after the crash", func() bool { return db.Ping(t.Context()) == nil })
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := worker.Fetch(canceled, jobs.FirstID); err == nil || store.IsUnreachable(err) {
		t.Errorf("a cancelled call: %v", err)
	}
}
