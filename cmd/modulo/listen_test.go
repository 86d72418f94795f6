package main

import (
	"strings"
	"testing"
)

// listenConfig leaves nothing to the clock.
const listenConfig = `
jobs:
  outbox: {workers: 3, every: 1h, listen: true}
`

const (
	listenerSQL = "select count(*) from pg_stat_activity where datname = current_database() and query = 'listen modulo_rows'"
	// enabledSQL says whether inserts into modulo.outbox notify.
	enabledSQL = "select tgenabled = 'O' from pg_trigger where tgrelid = 'modulo.outbox'::regclass and tgname = 'outbox_rows'"
	insertSQL  = "insert into modulo.outbox (destination, payload) select $1, n from generate_series(1, 20) as n"
)

// TestListen: with "listen: true" rows are sent when they come, not when the clock says so, and also after the connection
// that listens was ended by the server. Nothing else has to be done.
func TestListen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config := listenConfig
	if direct := f.db.Config().ConnString(); direct != f.env["DATABASE_URL"] { // as with a pooler in between
		config = "database: {listen_url: \"" + direct + "\"}" + config
	}
	running := f.start("run", "--config", write(t, "modulo.yaml", config))
	running.awaitLog("inserts are announced")
	running.awaitLog("listening for inserts")
	for range 3 {
		f.exec(insertSQL, f.queue)
		f.drained()
	}
	f.exec("select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen modulo_rows' and datname = current_database()")
	f.exec(insertSQL, f.queue)
	f.drained()
	if !strings.Contains(running.err.String(), "not listening for inserts: only the clock begins passes") {
		t.Errorf("the lost connection is not told:\n%s", running.err.String())
	}
	if code := running.end(); code != 0 {
		t.Errorf("exit code %d\n%s", code, running.err.String())
	}
	if arrived := len(f.taken(f.queue)); arrived != 80 {
		t.Errorf("%d messages, want 80", arrived)
	}
	await(t, "no session left", func() bool { return one[int](f, sessionsSQL) == 0 })
}

// TestListenByMigration: who migrates enables the trigger; nobody does unasked. Without a trigger, and without a connection
// that can listen, the clock goes on, and what to do is told.
func TestListenByMigration(t *testing.T) {
	t.Parallel()
	f := newEmptyFixture(t)
	f.ok("migrate", "up")
	running := f.start("run")
	running.awaitLog("service starts")
	if one[bool](f, enabledSQL) || one[int](f, listenerSQL) != 0 {
		t.Error("somebody listens, or the trigger is enabled, though no job asks for it")
	}
	running.end()

	file := write(t, "modulo.yaml", "database: {listen_url: postgres://127.0.0.1:1/nobody}"+listenConfig+`  own:
    every: 10ms
    listen: true
    source: {table: own_table, id: id, where: not sent}
    done: {set: sent = true}
    message: {destination: "`+f.queue+`.own"}
`)
	f.exec("create table own_table (id bigint primary key, sent boolean not null default false)")
	const missing = `create trigger modulo_rows after insert on "public"."own_table" for each statement execute function modulo.notify_rows()`
	a := f.exits(0, "migrate", "up", "--config", file)
	if !strings.Contains(a.stderr, missing) || !one[bool](f, enabledSQL) {
		t.Errorf("outbox announces: %v, told:\n%s", one[bool](f, enabledSQL), a.stderr)
	}
	running = f.start("run", "--config", file)
	running.awaitLog("inserts are not announced: only the clock begins passes")
	running.awaitLog("not listening for inserts: only the clock begins passes")
	f.exec("insert into own_table values (1)")
	await(t, "the clock begins a pass", func() bool { return one[bool](f, "select sent from own_table") })
	if code := running.end(); code != 0 || !strings.Contains(running.err.String(), "create trigger modulo_rows") {
		t.Errorf("exit code %d, missing: %s\n%s", code, missing, running.err.String())
	}
	for one[int](f, "select max(version_id)::int from modulo.schema_version") >= 3 { // the migration that has the trigger
		f.ok("migrate", "down", "--yes")
	}
	f.ok("migrate", "up")
	if one[bool](f, enabledSQL) {
		t.Error("the trigger is enabled without a job that asks for it")
	}
}
