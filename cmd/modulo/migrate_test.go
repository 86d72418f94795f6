package main

import (
	"os/exec"
	"strings"
	"sync"
	"testing"

	"modulo/internal/testservers"
)

// newEmptyFixture is modulo on a database without its schema.
func newEmptyFixture(t testing.TB) *fixture {
	t.Helper()
	return fixtureOn(t, testservers.EmptyDatabase(t), testservers.Broker(t))
}

// TestMigrateAtOnce starts five modulo migrate up on an empty database: all succeed, one does the work.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	f := newEmptyFixture(t)
	answers := make([]answer, 5)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = f.run("migrate", "up") })
	}
	all.Wait()
	applied := 0
	for _, a := range answers {
		switch {
		case a.code != 0:
			t.Errorf("exit code %d: %s", a.code, a.stderr)
		case strings.HasPrefix(a.stdout, "applied 00001_outbox.sql\n"):
			applied++
		case a.stdout != "nothing to do: the schema is up to date\n":
			t.Errorf("told: %q", a.stdout)
		}
	}
	if applied != 1 {
		t.Errorf("%d of 5 applied the migrations", applied)
	}
	golden(t, "cli/migrate-status.txt", maskedTable(f.ok("migrate", "status")))
	golden(t, "cli/migrate-status.json", masked(f.ok("migrate", "status", "-o", "json")))
	f.ok("once")
}

// TestMigratePrint: a DBA applies what print prints; afterwards nothing is left to do and the service works.
func TestMigratePrint(t *testing.T) {
	t.Parallel()
	f := newEmptyFixture(t)
	psql := exec.Command("psql", "--no-psqlrc", "--quiet", f.env["DATABASE_URL"])
	psql.Stdin = strings.NewReader(f.ok("migrate", "print"))
	if told, err := psql.CombinedOutput(); err != nil || len(told) > 0 {
		t.Fatalf("psql: %v\n%s", err, told)
	}
	if told := f.ok("migrate", "up"); told != "nothing to do: the schema is up to date\n" {
		t.Errorf("migrate up after psql: %q", told)
	}
	f.ok("once")
	if rest := f.ok("migrate", "print", "--after", "99999"); strings.Contains(rest, "create table modulo.outbox") {
		t.Errorf("printed what is already applied:\n%s", rest)
	}
}

// TestSchemaVersions: what needs the schema refuses another one than its own with a sentence that says what to do.
func TestSchemaVersions(t *testing.T) {
	t.Parallel()
	f := newEmptyFixture(t)
	refused := func(words ...string) {
		t.Helper()
		for _, command := range []string{"once", "run", "status", "rows list outbox", "rows retry outbox --yes"} {
			f.refuses(exitRefused, words, strings.Fields(command)...)
		}
	}
	refused("the database has no schema modulo", "run `modulo migrate up`")
	golden(t, "cli/migrate-status-empty.txt", f.ok("migrate", "status"))

	f.ok("migrate", "up")
	f.exec("insert into modulo.schema_version (version_id, is_applied) values (99, true)")
	refused("this binary is older than the schema", "the database is at 99", "roll out the release of modulo that brought version 99")
	f.refuses(exitRefused, []string{"older than the schema"}, "migrate", "up")
	f.refuses(exitRefused, []string{"older than the schema"}, "migrate", "down", "--yes")
	f.exec("delete from modulo.schema_version where version_id = 99")

	f.refuses(exitRefused, []string{"say --yes"}, "migrate", "down")
	f.ok("once")
	if told := f.ok("migrate", "down", "--yes"); !strings.HasPrefix(told, "took back 0000") {
		t.Errorf("migrate down: %q", told)
	}
	a := f.exits(exitRefused, "once")
	if !strings.Contains(a.stderr, "run `modulo migrate up`") {
		t.Errorf("after migrate down: %s", a.stderr)
	}
}

// TestMigrateThroughAPooler: migrations need a session, so a pooler is refused; everything else finds out about it.
func TestMigrateThroughAPooler(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.env["DATABASE_URL"] = testservers.Pooled(t, f.env["DATABASE_URL"])
	if a := f.exits(exitUsage, "migrate", "up"); !strings.Contains(a.stderr, "needs a direct connection") {
		t.Errorf("told: %s", a.stderr)
	}
	f.ok("migrate", "status")
	f.exec("insert into modulo.outbox (destination, payload) values ($1, 'x')", f.queue)
	f.ok("once")
	if arrived := len(f.taken(f.queue)); arrived != 1 {
		t.Errorf("%d messages, want 1", arrived)
	}
}
