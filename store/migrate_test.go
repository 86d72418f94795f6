package store_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"modulo/internal/testservers"
	"modulo/store"
)

// schemaSQL describes everything in schema modulo except when it was created.
const schemaSQL = `
select c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || a.attidentity::text
  || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || coalesce(' -- ' || col_description(c.oid, a.attnum), '')
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  where c.relnamespace = 'modulo'::regnamespace and c.relkind in ('r', 'S')
union all select c.relname || ' ' || c.relkind::text || coalesce(c.reloptions::text, '') || coalesce(' -- ' || obj_description(c.oid), '')
  from pg_class c where c.relnamespace = 'modulo'::regnamespace
union all select indexdef from pg_indexes where schemaname = 'modulo'
union all select t.tgname || ' ' || t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid) || ' -- ' || obj_description(t.oid)
  from pg_trigger t where not t.tgisinternal
union all select pg_get_functiondef(p.oid) || ' -- ' || obj_description(p.oid) from pg_proc p where p.pronamespace = 'modulo'::regnamespace
union all select version_id || ' ' || is_applied from modulo.schema_version
order by 1`

func TestMigrateUpDownUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.DB = open(t, store.Config{URL: f.url}) // migrations are direct
	first := column[string](f, schemaSQL)
	if again, err := f.MigrateUp(t.Context()); err != nil || len(again) != 0 {
		t.Fatalf("second migrate up: %v, %v", again, err)
	}
	for undone := 0; ; undone++ {
		m, err := f.MigrateDown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m == nil {
			if undone == 0 {
				t.Fatal("nothing was undone")
			}
			break
		}
	}
	status, err := f.MigrateStatus(t.Context())
	if err != nil || slices.ContainsFunc(status, func(m store.Migration) bool { return m.Applied }) {
		t.Fatalf("status after all the way down: %v, %v", status, err)
	}
	applied, err := f.MigrateUp(t.Context())
	if err != nil || len(applied) != len(status) {
		t.Fatalf("applied %v, %v", applied, err)
	}
	if second := column[string](f, schemaSQL); !slices.Equal(first, second) {
		t.Errorf("schema differs after down and up:\n%s\n\n%s", strings.Join(first, "\n"), strings.Join(second, "\n"))
	}
	status, err = f.MigrateStatus(t.Context())
	if err != nil || slices.ContainsFunc(status, func(m store.Migration) bool { return !m.Applied || m.AppliedAt.IsZero() }) {
		t.Fatalf("status after up: %v, %v", status, err)
	}
}

// Five processes start at once on an empty database; the one that has begun is killed.
func TestMigrateManyAtOnce(t *testing.T) {
	t.Parallel()
	url := testservers.EmptyDatabase(t)
	f := &fixture{t: t, url: url, conn: testservers.Connect(t, url)}
	blocker := testservers.Connect(t, url)
	if _, err := blocker.Exec(t.Context(), "begin; create schema modulo"); err != nil {
		t.Fatal(err)
	}
	var processes sync.WaitGroup
	failed := make(chan error, 5)
	for range 5 {
		db := open(t, store.Config{URL: url})
		processes.Go(func() {
			if _, err := db.MigrateUp(t.Context()); err != nil {
				failed <- err
			}
		})
	}
	const victimSQL = `select l.pid from pg_locks as l join pg_stat_activity as a using (pid)
		where l.locktype = 'advisory' and l.granted and a.wait_event_type = 'Lock' and a.datname = current_database()`
	within(t, "one process is in the middle", func() bool { return len(column[int32](f, victimSQL)) == 1 })
	f.exec("select pg_terminate_backend(l.pid) from (" + victimSQL + ") as l")
	if err := <-failed; !store.IsUnreachable(err) {
		t.Errorf("the killed process got %v", err)
	}
	if _, err := blocker.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	processes.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if err := open(t, store.Config{URL: url}).CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMigrateAsOrdinaryRole(t *testing.T) {
	t.Parallel()
	url := testservers.EmptyDatabase(t)
	f := &fixture{t: t, url: url, conn: testservers.Connect(t, url)}
	role := f.role()
	f.exec("create schema modulo authorization " + role) // without the right to create one
	if _, err := open(t, store.Config{URL: f.as(role)}).MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMigratePrintEqualsUp(t *testing.T) {
	t.Parallel()
	up := newFixture(t)
	url := testservers.EmptyDatabase(t)
	var sql strings.Builder
	if err := store.MigratePrint(&sql, 0); err != nil {
		t.Fatal(err)
	}
	psql := exec.CommandContext(t.Context(), "psql", "--no-psqlrc", "--quiet", url)
	psql.Stdin = strings.NewReader(sql.String())
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v: %s", err, out)
	}
	printed := &fixture{t: t, url: url, DB: open(t, store.Config{URL: url}), conn: testservers.Connect(t, url)}
	if err := printed.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
	if applied, err := printed.MigrateUp(t.Context()); err != nil || len(applied) != 0 {
		t.Errorf("migrate up after print: %v, %v", applied, err)
	}
	if a, b := column[string](up, schemaSQL), column[string](printed, schemaSQL); !slices.Equal(a, b) {
		t.Errorf("schema differs:\n%s\n\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

func TestCheckSchema(t *testing.T) {
	t.Parallel()
	check := func(f *fixture, want store.SchemaState, sentence string) {
		t.Helper()
		err := f.CheckSchema(t.Context())
		schema, ok := errors.AsType[*store.SchemaError](err)
		if !ok || schema.State != want || !strings.Contains(err.Error(), sentence) {
			t.Errorf("got %v, want %s with %q", err, want, sentence)
		}
	}
	url := testservers.EmptyDatabase(t)
	f := &fixture{t: t, url: url, DB: open(t, store.Config{URL: url}), conn: testservers.Connect(t, url)}
	check(f, store.SchemaMissing, "run `modulo migrate up`")
	if _, err := f.MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
	f.exec(`insert into modulo.schema_version (version_id, is_applied) values (99999, true)`)
	check(f, store.SchemaNewer, "this binary is older than the schema")
	_, up := f.MigrateUp(t.Context())
	_, down := f.MigrateDown(t.Context())
	wantError(t, up, "migrate up: this binary is older than the schema")
	wantError(t, down, "migrate down: this binary is older than the schema")
	f.exec(`delete from modulo.schema_version where version_id > 0`)
	check(f, store.SchemaMissing, "run `modulo migrate up`")
}

// role creates a role without any rights.
func (f *fixture) role() string {
	f.t.Helper()
	name := column[string](f, "select 'role_' || substr(md5(current_database()), 1, 10) || '_' || count(*) from pg_roles")[0]
	f.exec(fmt.Sprintf("create role %s login password 'secret'", name))
	f.t.Cleanup(func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, f.url)
		if err != nil {
			f.t.Error(err)
			return
		}
		drop := fmt.Sprintf("reassign owned by %s to current_user; drop owned by %s; drop role %s", name, name, name)
		_, err = conn.Exec(ctx, drop, pgx.QueryExecModeSimpleProtocol)
		if err = errors.Join(err, conn.Close(ctx)); err != nil {
			f.t.Error(err)
		}
	})
	return name
}

// as is the URL of the database for another role.
func (f *fixture) as(role string) string { return setUser(f.t, f.url, role) }
