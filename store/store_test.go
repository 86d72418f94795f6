package store_test

import (
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

func TestMain(m *testing.M) {
	code := testservers.Main(m)
	if err := goleak.Find(); err != nil {
		println(err.Error())
		code = max(code, 1)
	}
	os.Exit(code)
}

// fixture is a migrated database of a test's own, through the store and beside it.
type fixture struct {
	*store.DB
	t    testing.TB
	url  string
	conn *pgx.Conn
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	dbURL := testservers.Database(t)
	return &fixture{t: t, url: dbURL, DB: open(t, store.Config{URL: testservers.Seen(t, dbURL)}), conn: testservers.Connect(t, dbURL)}
}

func open(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// exec runs statements beside the store.
func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	if len(args) == 0 {
		args = []any{pgx.QueryExecModeSimpleProtocol}
	}
	if _, err := f.conn.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

// column returns the first column of a result.
func column[T any](f *fixture, sql string, args ...any) []T {
	f.t.Helper()
	rows, err := f.conn.Query(f.t.Context(), sql, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
	return values
}

// source opens a job and fails the test for any problem or warning.
func (f *fixture) source(job *jobs.Job) *store.Source {
	f.t.Helper()
	source, warnings, err := f.OpenSource(f.t.Context(), job)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, w := range warnings {
		f.t.Errorf("warning: %v", w)
	}
	return source
}

func outboxJob() *jobs.Job {
	return &jobs.Job{
		Name: "outbox", Workers: 5, Batch: 1000,
		Source: jobs.Source{Table: "modulo.outbox", ID: "id", Where: "done_at is null", DoneSet: "done_at = now()"},
		Message: jobs.MessageSpec{
			Destination: "{destination}", EventID: "{event_id}", Payload: jobs.Payload{Column: "payload"},
			Headers: []jobs.HeaderSpec{{Name: "type", Template: "{type}"}}, HeadersColumn: "headers",
		},
	}
}

// tableJob is a job on a table of the user's own with the columns id, payload and sent_at.
func tableJob(table string) *jobs.Job {
	return &jobs.Job{
		Name: "job", Workers: 5, Batch: 100,
		Source:  jobs.Source{Table: table, ID: "id", Where: "sent_at is null", DoneSet: "sent_at = now()"},
		Message: jobs.MessageSpec{Destination: "/queue/q", EventID: "job-{id}", Payload: jobs.Payload{Column: "payload"}},
	}
}

const ownTable = `create table own (id bigint primary key, payload text, sent_at timestamptz, tenant text);`

func fetch(t testing.TB, rows jobs.Rows) jobs.Batch {
	t.Helper()
	batch, err := rows.Fetch(t.Context(), jobs.FirstID)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func due(t testing.TB, failures jobs.Failures) jobs.Batch {
	t.Helper()
	batch, _, err := failures.Due(t.Context(), jobs.FirstID)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// patience is how long a test waits for what has to come, on a machine that starts servers for other tests beside it.
const patience = time.Minute

// within waits for a condition.
func within(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// setUser changes the role of a URL.
func setUser(t testing.TB, rawURL, role string) string {
	t.Helper()
	u := parse(t, rawURL)
	u.User = url.UserPassword(role, "secret")
	return u.String()
}

func parse(t testing.TB, rawURL string) *url.URL {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func wantRefused(t testing.TB, err error, want bool) {
	t.Helper()
	var refused *jobs.MarkRefused
	if err == nil || errors.As(err, &refused) != want {
		t.Errorf("got %v, refused by a row: want %v", err, want)
	}
}
