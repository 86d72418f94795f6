package alerts

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"modulo/internal/faultproxy"
	"modulo/internal/local"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// settings has a job for each thing that breaks, all on tables of their own but outbox.
const settings = `
ownership: {lease: 8s, heartbeat: 2s, margin: 2s, tick: 200ms}
database: {url: "DATABASE", listen_url: "LISTEN", statement_timeout: 2s}
broker: {url: "BROKER", receipt_timeout: 3s, heartbeat: 3s}
jobs:
  outbox: {workers: 1, every: 500ms, listen: true}
  locked: {workers: 1, every: 200ms, TABLE, message: {destination: /queue/locked}}
  nightly: {workers: 1, cron: "@every 1s", TABLE, message: {destination: /queue/nightly}}
  refused: {workers: 1, every: 200ms, TABLE, message: {destination: "/topic/{payload}", allow: ["/topic/good"]}}
  paused: {workers: 1, every: 200ms, TABLE, message: {destination: /queue/paused}}
  uncounted: {workers: 1, every: 200ms, TABLE, message: {destination: /queue/uncounted}}
  shared: {workers: 2, every: 200ms, repeats: possible, TABLE, message: {destination: /queue/shared}}
`

// jobOnTable finds the jobs whose table has their name.
var jobOnTable = regexp.MustCompile(`(?m)^  (\w+): (.*)TABLE`)

// ownTables makes the tables. Where a lock is held, a mark waits for it, as it does for anybody's lock on the row.
const ownTables = `
create function wait_for_lock() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(1); return new; end $$;
do $$ declare name text; begin
  foreach name in array array['locked', 'nightly', 'refused', 'paused', 'uncounted', 'shared'] loop
    execute format('create table %I (id bigint generated always as identity primary key, payload text not null,
      sent_at timestamptz, created_at timestamptz not null default now())', name);
    execute format('create index on %I (id) where sent_at is null', name);
  end loop;
  foreach name in array array['locked', 'nightly'] loop
    execute format('create trigger lock before update on %I for each row execute function wait_for_lock()', name);
  end loop;
end $$`

// scenery is what can be broken.
type scenery struct {
	t      *testing.T
	db     *pgx.Conn
	config string
	broker *local.ActiveMQ
	// ways of the instances to database and broker, and of the listening connection
	brokerWay, databaseWay, listenWay *faultproxy.Proxy
	databaseURL, brokerURL            string // by these ways
}

func newScenery(t *testing.T) *scenery {
	t.Helper()
	database, broker := testservers.Database(t), testservers.OwnBroker(t)
	s := &scenery{t: t, db: testservers.Connect(t, database), broker: broker}
	var listenURL string
	s.databaseWay, s.databaseURL = testservers.Through(t, database)
	s.listenWay, listenURL = testservers.Through(t, database)
	s.brokerWay, s.brokerURL = testservers.Through(t, broker.URL())
	s.exec(ownTables)
	text := strings.NewReplacer("DATABASE", database, "LISTEN", listenURL, "BROKER", broker.URL()).Replace(settings)
	text = jobOnTable.ReplaceAllString(text, `  $1: $2 source: {table: $1, id: id, where: "sent_at is null"}, done: {set: "sent_at = now()"}`)
	s.config = filepath.Join(t.TempDir(), "modulo.yaml")
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scenery) exec(sql string) {
	s.t.Helper()
	if _, err := s.db.Exec(s.t.Context(), sql); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// command runs the program to its end.
func (s *scenery) command(args ...string) {
	s.t.Helper()
	programtest.Do(s.t, append(args, "--config", s.config)...)
}

// run starts an instance and returns where its metrics are.
func (s *scenery) run(args ...string) (p *programtest.Process, address string) {
	s.t.Helper()
	p, err := programtest.Start(append([]string{"run", "--config", s.config, "--http", "127.0.0.1:0", "--log-format", "json"}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	p.EndWith(s.t)
	return p, p.Address(s.t, patience)
}

// drained waits until the tables have no pending row.
func (s *scenery) drained(tables ...string) {
	s.t.Helper()
	for _, table := range tables {
		programtest.Within(s.t, patience, table+" is drained", func() (done bool, err error) {
			err = s.db.QueryRow(s.t.Context(), "select not exists (select from "+table+" where sent_at is null)").Scan(&done)
			return done, err
		})
	}
}

var alertNames = regexp.MustCompile(`(?m)^ *- alert: (\w+)$`)

// TestAlertsFireAndClear: what each rule watches is broken on real servers, the alert fires, and clears when it is put right.
func TestAlertsFireAndClear(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	p := startPrometheus(t)
	s := newScenery(t)
	p.awaitFired(fired, "ModuloNoInstance")

	_, first := s.run("--job", "outbox", "--job", "locked", "--job", "nightly", "--job", "refused", "--job", "paused", "--job", "uncounted")
	_, second := s.run("--job", "shared", "--max-workers", "1", "--database-url", s.databaseURL, "--broker-url", s.brokerURL)
	victim, third := s.run("--job", "shared")
	p.scrape("targets.json", first, second, third)
	s.exec(`insert into locked (payload) values ('x'); insert into nightly (payload) values ('x'); insert into refused (payload) values ('good');
		insert into paused (payload) values ('x'); insert into uncounted (payload) values ('x'); insert into shared (payload) values ('x'), ('x');
		insert into modulo.outbox (payload) values ('x')`)
	s.drained("locked", "nightly", "refused", "paused", "uncounted", "shared") // and has its tokens
	p.within("three instances are scraped", func() bool {
		return p.count("modulo_build_info") == 3 && p.count("modulo_listening == 1") == 1 && p.count("modulo_workers_owned == 1") == 8
	})
	p.awaitQuiet(fired)

	s.breakAll(victim, p, first)
	p.awaitFired(fired, "ModuloRowsWait locked", "ModuloWorkerStalled locked", "ModuloChangeOfWorkersStuck locked",
		"ModuloRunMissed nightly", "ModuloRowsFailed refused", "ModuloJobPaused paused", "ModuloBacklogNotCounted uncounted",
		"ModuloNotListening", "ModuloInstanceDied", "ModuloWorkersUnowned shared", "ModuloBrokerLost", "ModuloLabelsRenamed")
	p.checkDashboard()
	third = s.healAll(p)
	p.scrape("targets.json", first, second, third)
	p.awaitFired(fired, "ModuloRowsRepeated shared") // what the broker may have got is sent again
	p.awaitQuiet(fired)

	s.setBrokerBack()
	p.awaitFired(fired, "ModuloBrokerSetBack outbox")
	p.awaitQuiet(fired)

	delete(fired, "ModuloBrokerLost")
	s.broker.Kill()
	s.databaseWay.Set(faultproxy.Silent())
	p.awaitFired(fired, "ModuloBrokerLost", "ModuloDatabaseLost")
	s.databaseWay.CutAll(faultproxy.RST)
	s.databaseWay.Set(faultproxy.Faults{})
	s.replaceStore("")
	p.awaitFired(fired, "ModuloTokenProblem locked", "ModuloTokenProblem paused") // its store is gone, and the tokens with it
	for _, job := range []string{"outbox", "locked", "nightly", "refused", "paused", "uncounted"} {
		s.command("workers", "reset-token", job, "--force", "--yes")
	}
	p.awaitQuiet(fired)

	for _, found := range alertNames.FindAllStringSubmatch(string(rules), -1) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(fired)), func(name string) bool { return strings.HasPrefix(name, found[1]) }) {
			t.Errorf("%s did not fire", found[1])
		}
	}
}

// setBrokerBack gives the broker the store that it had before it confirmed a message of outbox.
func (s *scenery) setBrokerBack() {
	s.t.Helper()
	older := filepath.Join(s.t.TempDir(), "older")
	s.broker.Kill()
	if err := os.CopyFS(older, os.DirFS(s.store())); err != nil {
		s.t.Fatal(err)
	}
	if err := s.broker.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.exec("insert into modulo.outbox (payload) values ('x')")
	programtest.Within(s.t, patience, "the message is confirmed", func() (done bool, err error) {
		err = s.db.QueryRow(s.t.Context(), "select not exists (select from modulo.outbox where done_at is null)").Scan(&done)
		return done, err
	})
	s.broker.Kill()
	s.replaceStore(older)
}

// store is where the broker keeps its messages.
func (s *scenery) store() string { return filepath.Join(filepath.Dir(s.broker.LogFile()), "data") }

// replaceStore starts the broker, which was killed, with a copy of another store; "" is an empty one.
func (s *scenery) replaceStore(other string) {
	s.t.Helper()
	err := os.RemoveAll(s.store())
	if err == nil && other != "" {
		err = os.CopyFS(s.store(), os.DirFS(other))
	}
	if err == nil {
		err = s.broker.Start(s.t.Context())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// breakAll breaks, beside the living broker, everything that can break at the same time.
func (s *scenery) breakAll(victim *programtest.Process, p *prometheus, first string) {
	s.t.Helper()
	p.scrape("careless.json", first)
	s.brokerWay.Set(faultproxy.Faults{Down: faultproxy.Flow{Stall: true}}) // messages arrive, their receipts do not
	s.listenWay.Set(faultproxy.Faults{Refuse: true})
	s.listenWay.CutAll(faultproxy.RST)
	s.exec(`select pg_advisory_lock(1);
		insert into locked (payload, created_at) values ('x', now() - interval '1 hour');
		insert into nightly (payload) values ('x');
		insert into refused (payload) values ('bad');
		insert into shared (payload) select 'x' from generate_series(1, 10);
		alter table uncounted rename to uncounted_elsewhere`)
	s.command("pause", "paused")
	p.within("the mark of locked waits, so that its worker is not given back", func() bool { return s.marksWaiting() == 2 })
	s.command("workers", "set", "locked", "2")
	if err := victim.Kill(); err != nil {
		s.t.Fatal(err)
	}
}

// marksWaiting counts the marks that wait for the lock.
func (s *scenery) marksWaiting() (n int) {
	s.t.Helper()
	const waiting = `select count(*) from pg_locks where locktype = 'advisory' and not granted
		and database = (select oid from pg_database where datname = current_database())`
	if err := s.db.QueryRow(s.t.Context(), waiting).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// healAll puts right what breakAll broke, and returns where the third instance is.
func (s *scenery) healAll(p *prometheus) (third string) {
	s.t.Helper()
	s.exec("select pg_advisory_unlock(1); alter table uncounted_elsewhere rename to uncounted")
	s.brokerWay.CutAll(faultproxy.RST)
	s.brokerWay.Set(faultproxy.Faults{})
	s.listenWay.Set(faultproxy.Faults{})
	p.scrape("careless.json")
	s.command("resume", "paused")
	s.command("rows", "discard", "refused", "--yes")
	_, third = s.run("--job", "shared")
	return third
}

// checkDashboard runs every query of the dashboard on what was really scraped.
func (p *prometheus) checkDashboard() {
	p.t.Helper()
	text, err := os.ReadFile("../../deploy/grafana/modulo.json")
	if err != nil {
		p.t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		p.t.Fatal(err)
	}
	variables := strings.NewReplacer("$job", ".*", "$__rate_interval", "10s")
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			if p.count(variables.Replace(target.Expr)) == 0 {
				p.t.Errorf("dashboard, %s: no answer to %s", panel.Title, target.Expr)
			}
		}
	}
}
