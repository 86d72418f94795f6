package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"modulo/broker"
	"modulo/broker/stomp"
	"modulo/internal/config"
	"modulo/internal/testservers"
	"modulo/store"
)

func TestMain(m *testing.M) {
	code := testservers.Main(m)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// patient is an installation with a database of its own and a broker that answers as it is told.
type patient struct {
	t          *testing.T
	url        string
	conn       *pgx.Conn // beside the doctor
	text       string    // configuration
	inspection stomp.Inspection
	inspectErr error
	canary     stomp.Canary
	canaryErr  error
	noBroker   error
	old        time.Duration
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{
		t: t, url: testservers.Database(t), old: time.Hour,
		inspection: stomp.Inspection{Server: "ActiveMQ Classic", Version: "ActiveMQ/5.17.2", Tokens: true, Silence: time.Second, Confirm: stomp.Transaction},
		canary:     stomp.Canary{Queue: "/queue/canary", Persistent: true, Text: true},
	}
	p.conn = testservers.Connect(t, p.url)
	return p
}

func (p *patient) exec(sql string) {
	p.t.Helper()
	if _, err := p.conn.Exec(p.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

// Inspect, Canary and the rest make a patient a broker.
func (p *patient) Inspect(_ context.Context, tokens []stomp.TokenName) (stomp.Inspection, error) {
	return p.inspection, p.inspectErr
}

func (p *patient) Canary(context.Context) (stomp.Canary, error) { return p.canary, p.canaryErr }

func (p *patient) examine() Report {
	p.t.Helper()
	report := p.report()
	for _, f := range report {
		if !documented(p.t, f.Name) {
			p.t.Errorf("docs/doctor.md does not explain %s", f.Name)
		}
	}
	return report
}

// nameColumn is that of the names in the table of docs/doctor.md.
var nameColumn = regexp.MustCompile(`(?m)^\|[^|]*\|([^|]*)\|`)

// documented says whether docs/doctor.md has a name, or a pattern for it.
func documented(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range nameColumn.FindAllStringSubmatch(string(text), -1) {
		for known := range strings.SplitSeq(line[1], ",") {
			if fits, err := path.Match(strings.Trim(known, " `"), name); err != nil || fits {
				return fits
			}
		}
	}
	return false
}

func (p *patient) report() Report {
	p.t.Helper()
	return Examine(p.t.Context(), Config{
		Load: func() (*config.Config, error) {
			file := filepath.Join(p.t.TempDir(), "modulo.yaml")
			if err := os.WriteFile(file, []byte(p.text), 0o600); err != nil {
				p.t.Fatal(err)
			}
			return config.Load(file, os.LookupEnv, config.Overrides{DatabaseURL: p.url})
		},
		Database: func(ctx context.Context, c *config.Config) (*store.DB, error) {
			return store.Open(ctx, store.Config{URL: c.Database.URL})
		},
		Broker:  func(broker.Config) (broker.Broker, error) { return fakeBroker{patient: p}, p.noBroker },
		Version: "1.0", Canary: true, OldSnapshot: p.old,
	})
}

// fakeBroker has no publishers: the doctor needs none.
type fakeBroker struct {
	broker.Broker
	*patient
}

func (f fakeBroker) Inspect(ctx context.Context, tokens []stomp.TokenName) (stomp.Inspection, error) {
	return f.patient.Inspect(ctx, tokens)
}
func (f fakeBroker) Canary(ctx context.Context) (stomp.Canary, error) { return f.patient.Canary(ctx) }

// wants looks for a finding, as in "database/clock=ok", that says the words.
func (p *patient) wants(report Report, finding string, words ...string) {
	p.t.Helper()
	if !slices.ContainsFunc(report, func(f Finding) bool {
		said := f.Check + " -> " + f.Hint
		return fmt.Sprintf("%s/%s=%s", f.Group, f.Name, f.Status) == finding &&
			!slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(said, w) })
	}) {
		p.t.Errorf("no %s with %q in:\n%s", finding, words, lines(report))
	}
}

func lines(report Report) string {
	var text strings.Builder
	for _, f := range report {
		fmt.Fprintf(&text, "%s/%s=%s: %s -> %s\n", f.Group, f.Name, f.Status, f.Check, f.Hint)
	}
	return text.String()
}

// A healthy installation has no failure, each group once, and a hint only where something is wrong.
func TestHealthy(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	report := p.examine()
	for _, finding := range []string{
		"configuration/configuration=ok", "database/reach=ok", "database/version=ok", "database/pooler=ok", "database/clock=ok",
		"database/snapshots=ok", "database/connections=ok", "database/schema=ok", "database/rights=ok", "job outbox/table=ok", "job outbox/plan=ok", "job outbox/dead-rows=ok",
		"job outbox/workers=ok", "broker/login=ok", "broker/canary=ok", "broker/clock=ok",
	} {
		p.wants(report, finding)
	}
	if report.Count(Failure) > 0 {
		t.Errorf("failures in\n%s", lines(report))
	}
	var groups []string
	for _, f := range report {
		groups = append(groups, f.Group)
		if (f.Status == OK) != (f.Hint == "") {
			t.Errorf("%+v", f)
		}
	}
	if groups = slices.Compact(groups); !slices.Equal(groups, []string{"configuration", "database", "job outbox", "instances", "broker"}) {
		t.Errorf("groups %q", groups)
	}
}

// The server of the tests does not sync its disk, nobody runs the jobs, and one more instance would find no connections.
func TestWarnings(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.text = "database: {max_conns: 10000}\nbroker: {heartbeat: 0s}\n"
	report := p.examine()
	p.wants(report, "database/durability=warning", "fsync = off")
	p.wants(report, "database/connections=warning", "room for", "want 10003")
	p.wants(report, "instances/instances=warning", "none is alive")
	p.wants(report, "configuration/heartbeat=warning", "without heart-beats")
}

// What is wrong with the ground is told, and the rest is checked all the same.
func TestWithoutGround(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	good := p.url
	p.url = "postgres://127.0.0.1:1/none"
	p.noBroker = errors.New("no such scheme")
	report := p.examine()
	p.wants(report, "database/reach=failure", "127.0.0.1:1")
	p.wants(report, "broker/configuration=failure", "no such scheme")

	p.url, p.noBroker, p.inspectErr = good, nil, errors.New("connection refused")
	report = p.examine()
	p.wants(report, "broker/login=failure", "connection refused")
	p.wants(report, "job outbox/table=ok")

	p.url = testservers.EmptyDatabase(t)
	report = p.examine()
	p.wants(report, "database/schema=failure", "modulo migrate up")
	p.wants(report, "database/snapshots=ok")

	p.text = "jobs: {outbox: {workers: 0}}"
	report = p.examine()
	p.wants(report, "configuration/configuration=failure", "workers: 0")
	if len(report) != 1 {
		t.Errorf("more is checked:\n%s", lines(report))
	}
}

// Old transactions are told; young ones are not.
func TestOldSnapshots(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	reader := testservers.Connect(t, p.url)
	for _, sql := range []string{"set application_name = 'the monthly report'", "begin isolation level repeatable read", "select 1 from modulo.outbox"} {
		if _, err := reader.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	p.wants(p.examine(), "database/snapshots=ok")
	p.old = time.Nanosecond
	p.wants(p.examine(), "database/snapshots=warning", "the monthly report", "pg_terminate_backend")
}

// Dead rows are counted by the server's statistics.
func TestDeadRows(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.exec("alter table modulo.outbox set (autovacuum_enabled = off)")
	p.exec("insert into modulo.outbox (payload) select '' from generate_series(1, 150000)")
	p.exec("delete from modulo.outbox; select pg_stat_force_next_flush()")
	p.wants(p.examine(), "job outbox/autovacuum=warning", "leaves table modulo.outbox out")
	p.wants(p.examine(), "job outbox/dead-rows=warning", "150000 rows are dead", "vacuum modulo.outbox", "never vacuumed")
	p.exec("vacuum modulo.outbox")
	p.exec("select pg_stat_force_next_flush()")
	p.wants(p.examine(), "job outbox/dead-rows=ok", "last vacuumed")
}

// What the tables of Modulo tell of a job and its instances.
func TestTrouble(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.text = "jobs: {outbox: {workers: 7}}"
	p.exec(`insert into modulo.jobs (job, workers) values ('outbox', 2);
		insert into modulo.instances (instance, host, pid, version, jobs, expires_at)
		values (gen_random_uuid(), 'here', 1, '0.9', '{outbox}', now() + interval '1 hour'), (gen_random_uuid(), 'gone', 1, '0.8', '{outbox}', now());
		insert into modulo.workers (job, generation, number, owner) select 'outbox', 1, 0, instance from modulo.instances where host = 'here';
		insert into modulo.workers (job, generation, number) values ('outbox', 1, 1);
		insert into modulo.tokens (job, number, lineage, made, problem) values ('outbox', 1, 'x', true, 'gone'), ('outbox', 0, 'y', true, null);
		insert into modulo.outbox (payload, created_at) values ('', now() - interval '1 hour'), ('', now());
		insert into modulo.failures (job, row_id, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
		values ('outbox', 2, '', 8, now(), now(), 'refused', '')`)
	p.inspection.Counts = []int{2}
	report := p.examine()
	p.wants(report, "job outbox/workers=failure", "1 of 2 workers have no owner")
	p.wants(report, "job outbox/wish=warning", "K is 2, the configuration says 7")
	p.wants(report, "job outbox/token=failure", "worker 1: gone")
	p.wants(report, "job outbox/failed=warning", "1 rows have failed", "modulo rows list outbox")
	p.wants(report, "job outbox/backlog=warning", "waiting for 1h0m") // and as many seconds as the checks before took
	p.wants(report, "instances/instances=warning", "here pid 1 runs 0.9, this is 1.0")
	p.wants(report, "broker/token=failure", "worker 0 of job outbox has 2 tokens", "reset-token outbox 0")
	if strings.Contains(lines(report), "gone pid") {
		t.Errorf("an instance without a lease:\n%s", lines(report))
	}
	p.exec("update modulo.jobs set paused = true, next_workers = 5")
	report = p.examine()
	p.wants(report, "job outbox/paused=warning")
	p.wants(report, "job outbox/workers=warning", "being changed from 2 to 5")
}

// A table that does not fit, one without an index, and a role without rights.
func TestTables(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.exec(`create table big (id bigint primary key, note text, sent_at timestamptz);
		insert into big select i, repeat('x', 200) from generate_series(1, 5000) as i; analyze big;
		create role "doctor_test" login password 'secret'; grant usage on schema modulo to "doctor_test"; grant select on big to "doctor_test"`)
	const job = "source: {table: %s, id: id, where: sent_at is null}, done: {set: sent_at = now()}, message: {destination: /queue/q}"
	p.text = fmt.Sprintf("jobs: {big: {"+job+"}, none: {"+job+"}}", "big", "nowhere")
	report := p.examine()
	p.wants(report, "job big/source.table=warning", "no index serves the fetch", "create index concurrently")
	p.wants(report, "job none/source.table=failure", "nowhere does not exist")
	p.exec("create index on big (id) where sent_at is null")
	p.wants(p.examine(), "job big/plan=ok", "big_id_idx")

	address, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.UserPassword("doctor_test", "secret")
	p.url = address.String()
	p.wants(p.examine(), "database/schema=failure", "permission denied", "grant usage on schema modulo")
	p.exec(`grant select on modulo.schema_version to "doctor_test"`)
	report = p.examine()
	p.wants(report, "job big/rights=failure", "grant")
	p.wants(report, "database/rights=failure", "lacks select, insert, update on modulo.audit; select, insert, update, delete on modulo.failures")
	p.exec(`grant select, insert, update, delete on all tables in schema modulo to "doctor_test";
		revoke delete on modulo.audit, modulo.progress, modulo.retention, modulo.outbox from "doctor_test";
		create table modulo.not_ours (n int); grant update on big to "doctor_test"`)
	report = p.examine()
	p.wants(report, "database/rights=failure", "lacks usage on sequence modulo.epoch", "grant usage on sequence modulo.epoch to doctor_test")
	p.exec(`grant usage on sequence modulo.epoch to "doctor_test"`)
	p.wants(p.examine(), "database/rights=ok")
	p.text = "retention: {done: 24h, audit: 24h}"
	p.wants(p.examine(), "database/rights=failure", "grant delete on modulo.audit to doctor_test; grant delete on modulo.outbox to doctor_test")
	p.wants(report, "database/visibility=ok", "doctor_test is not shown")
}

// Behind a pooler notifications do not arrive, and a trigger that is disabled announces nothing.
func TestListen(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	direct := p.url
	p.text = "jobs: {outbox: {listen: true}}"
	p.wants(p.examine(), "database/listen=warning", "enable trigger")
	p.exec("alter table modulo.outbox enable trigger outbox_rows")
	p.wants(p.examine(), "database/listen=ok", "a notification arrives")
	p.url = testservers.Pooled(t, direct)
	report := p.examine()
	p.wants(report, "database/pooler=ok", "behind a pooler")
	p.wants(report, "database/listen=warning", "set database.listen_url", "only the clock")
	p.wants(report, "database/planner=warning", "enable_seqscan, jit", "alter role", "set enable_bitmapscan = off")
	p.text = fmt.Sprintf("database: {listen_url: %q}\n%s", direct, p.text)
	p.wants(p.examine(), "database/listen=ok")
}

// Behind a pooler the settings of sessions are the role's: the doctor says which are missing, and is content with its advice.
func TestPlanner(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.wants(p.examine(), "database/planner=ok")
	name := p.conn.Config().Database
	p.url = testservers.OwnPgBouncer(t, nil).URL(name)
	report := p.examine()
	p.wants(report, "database/planner=warning", "enable_bitmapscan, enable_seqscan, jit")
	for _, f := range report {
		if f.Name == "planner" {
			advice, _, _ := strings.Cut(f.Hint, "; for ")
			p.exec(advice)
		}
	}
	p.url = testservers.OwnPgBouncer(t, nil).URL(name)
	p.wants(p.examine(), "database/planner=ok")
}

// Old rows that nobody removes are told.
func TestRetention(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.text = "retention: {done: 24h, audit: 24h}"
	p.wants(p.examine(), "database/retention=ok", "no instance has looked")
	p.exec(`insert into modulo.retention (subject, holder, host, expires_at, removed, swept_at) values
		('done', gen_random_uuid(), 'here', now(), 5, now()), ('audit', gen_random_uuid(), 'here', now(), 0, now() - interval '3 days')`)
	report := p.examine()
	p.wants(report, "database/retention=ok", "old done rows: 5 removed")
	p.wants(report, "database/retention=warning", "old audit rows")
	p.exec("update modulo.retention set swept_at = null, expires_at = now() where subject = 'audit'")
	p.wants(p.examine(), "database/retention=ok", "old audit rows: 0 removed, the first look at all is not over")
	p.exec("update modulo.retention set expires_at = now() - interval '3 days' where subject = 'audit'")
	p.wants(p.examine(), "database/retention=warning", "old audit rows")
	p.text = "retention: {done: 24h}"
	if report := lines(p.examine()); strings.Contains(report, "old audit rows") {
		t.Errorf("what nobody wants any more is told:\n%s", report)
	}
	p.text += "\njobs: {own: {source: {table: own, id: id, where: a}, done: {set: a = false}, message: {destination: /queue/q}}}"
	p.wants(p.examine(), "database/retention=warning", "retention.done does nothing here")
}

// What the broker does with a message, and which broker it is.
func TestBroker(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.canary = stomp.Canary{Skew: -time.Hour}
	p.inspection.Silence = 0
	report := p.examine()
	p.wants(report, "broker/canary=failure", "not: a restart of the broker loses events")
	p.wants(report, "broker/canary=failure", "TextMessage")
	p.wants(report, "broker/clock=warning", "1h0m0s behind ours")
	p.wants(report, "broker/heartbeat=warning", "no heart-beats")
	p.canaryErr = errors.New("it did not come back")
	p.wants(p.examine(), "broker/canary=failure", "did not come back")
	p.inspection.Tokens, p.canaryErr = false, fmt.Errorf("canary: %w", stomp.ErrNoCanary)
	report = p.examine()
	p.wants(report, "broker/canary=ok", "ActiveMQ Classic only")
	p.wants(report, "broker/repeats=warning", "keeps no token")
	p.text = "jobs: {outbox: {repeats: none}}"
	p.wants(p.examine(), "broker/repeats=failure")
}

// The clocks are judged by what is certain.
func TestSkew(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]Finding{
		0:                {Status: OK},
		-tolerableSkew:   {Status: Warning, Check: "1s behind ours"},
		2 * time.Minute:  {Status: Warning, Check: "2m0s ahead of ours"},
		time.Millisecond: {Status: OK},
	} {
		e := &examination{}
		e.skew("g", "clock", skew, "x")
		if got := e.report[0]; got.Status != want.Status || !strings.Contains(got.Check, want.Check) {
			t.Errorf("%s: %+v", skew, got)
		}
	}
}
