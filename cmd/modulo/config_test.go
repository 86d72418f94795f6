package main

import (
	"fmt"
	"strings"
	"testing"

	"modulo/internal/testservers"
)

// TestUsageErrors: what is wrong with the command line or the configuration ends with 2 before anything is touched, and
// says where it is wrong.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	const job = "jobs:\n  a:\n    source: {table: t, id: id, where: not sent}\n    done: {set: sent = true}\n"
	const message = "    message: {destination: /queue/a}\n"
	for _, test := range []struct {
		name  string
		file  string // the configuration; none if empty
		flags string
		words []string // that the error says
	}{
		{"no such command", "", "rnu", []string{`unknown command "rnu"`}},
		{"no such subcommand", "", "migrate upp", []string{`unknown command "upp"`, "did you mean up?"}},
		{"no such command, with a flag", "", "rnu --workers 5", []string{`unknown command "rnu"`, "did you mean run?"}},
		{"no such flag", "", "once --worker 5", []string{"--worker", "modulo once --help"}},
		{"not a number", "", "once --workers five", []string{"--workers", "five"}},
		{"an argument too many", "", "run outbox", []string{"modulo run"}},
		{"an argument too few", "", "rows list", []string{"modulo rows list JOB"}},
		{"log level", "", "run --log-level loud", []string{"--log-level", "loud", "debug, info, warn or error"}},
		{"log format", "", "once --log-format xml", []string{"--log-format", "xml", "json or console"}},
		{"output", "", "once -o xml", []string{"--output", "xml", "table or json"}},
		{"no workers", "", "once --workers 0", []string{"workers: 0", "1 and 1024"}},
		{"too many workers", "", "once --workers 1025", []string{"workers: 1025", "1 and 1024"}},
		{"no batch", "", "once --batch 0", []string{"batch: 0"}},
		{"no window", "", "once --window 0", []string{"window: 0"}},
		{"never", "", "run --every 0s", []string{"either every or cron"}},
		{"too often", "", "run --every 1ms", []string{"every: 1ms"}},
		{"both schedules", "", "run --every 1s --cron 0", []string{"every", "cron"}},
		{"time zone of an interval", "", "run --timezone UTC", []string{"timezone"}},
		{"no time to stop", "", "run --shutdown-timeout 0", []string{"--shutdown-timeout 0s is less than 100ms"}},
		{"no time to stop, once", "", "once --shutdown-timeout -1s", []string{"--shutdown-timeout -1s is less than 100ms"}},
		{"less than no workers", "", "run --max-workers -1", []string{"--max-workers -1 is negative"}},
		{"http without a port", "", "run --http localhost", []string{`http.listen "localhost"`, "host:port", "off"}},
		{"http with a name for a port", "http: {listen: ':web'}\n", "run", []string{`http.listen ":web"`}},
		{"http beyond the ports", "", "run --http :65536", []string{`http.listen ":65536"`}},
		{"confirm", "", "once --confirm maybe", []string{"confirm", "maybe", "auto, transaction or receipt"}},
		{"broker scheme", "", "once --broker-url http://localhost", []string{"http", "stomp"}},
		{"broker beyond the ports", "", "once --broker-url stomp://localhost:99999", []string{"port 99999", "65535"}},
		{"no time for a receipt", "broker: {receipt_timeout: 0s}\n", "once", []string{"broker.receipt_timeout: 0s"}},
		{"printed, with a strategy that is none", "broker: {confirm: foo}\n", "config", []string{"foo", "auto, transaction or receipt"}},
		{"printed, with heart-beats too often", "broker: {heartbeat: 1ms}\n", "config", []string{"1ms"}},
		{"printed, with no time for heartbeats", "ownership: {heartbeat: 1ms}\n", "config", []string{"ownership", "heartbeat"}},
		{"printed, with no time to stop", "", "config --shutdown-timeout 0", []string{"--shutdown-timeout 0s"}},
		{"broker without a host", "", "once --broker-url stomp://", []string{"no host"}},
		{"database URL", "", "once --database-url http://localhost", []string{"database URL"}},
		{"no such job", "", "once invoices", []string{`"invoices"`, "it has: outbox"}},
		{"no such file", "", "once --config nowhere.yaml", []string{"nowhere.yaml"}},

		{"unknown key", "jobs:\n  outbox:\n    worker: 5\n", "run", []string{"modulo.yaml", `line 3: unknown key "worker"`}},
		{"two unknown keys", "brokers: {}\njobs:\n  outbox: {message: {header: {a: b}}}\n", "run",
			[]string{`line 1: unknown key "brokers"`, `line 3: unknown key "header"`}},
		{"unknown key beside sql", job + "    message:\n      destination: /queue/a\n      payload: {sql: a, column: b}\n", "run",
			[]string{"line 7: want row, a column name, or {sql: expression}"}},
		{"key twice", "jobs:\n  outbox: {}\n  outbox: {}\n", "run", []string{"outbox", "already defined at line 2"}},
		{"no YAML", "jobs: {", "run", []string{"modulo.yaml", "line 1"}},
		{"duration", "jobs:\n  outbox: {every: 5}\n", "run", []string{"line 2: want a duration like 500ms"}},
		{"backoff", "jobs:\n  outbox: {retry: {backoff: 1s}}\n", "run", []string{"line 2: want a range like 1s..15m"}},
		{"backoff backwards", "jobs:\n  outbox: {retry: {backoff: 2s..1s}}\n", "run", []string{"2s..1s"}},
		{"never, in the file", "jobs:\n  outbox: {every: 0s}\n", "run", []string{"either every or cron"}},
		{"both schedules in the file", "jobs:\n  outbox: {every: 1s, cron: '* * * * *'}\n", "run", []string{"either every or cron"}},
		{"cron", "jobs:\n  outbox: {cron: '61 * * * *'}\n", "run", []string{"job outbox", `cron "61 * * * *"`}},
		{"cron with seconds", "jobs:\n  outbox: {cron: '* * * * * *'}\n", "run", []string{`cron "* * * * * *"`}},
		{"time zone", "jobs:\n  outbox: {cron: '* * * * *', timezone: Europe/Bärlin}\n", "run", []string{"timezone", "Bärlin"}},
		{"variable", "broker:\n  username: ${NOWHERE}\n", "run", []string{"line 2: environment variable NOWHERE is not set"}},
		{"not a number in the file", "jobs:\n  outbox:\n    workers: five\n", "run", []string{"line 3: want a whole number"}},
		{"name of a job", "jobs:\n  Out box: {}\n", "run", []string{`name "Out box"`}},
		{"no source", "jobs:\n  a: {}\n", "run", []string{"job a", "source.table: missing", "source.id: missing", "source.where: missing", "done.set: missing"}},
		{"no destination", job, "run", []string{"job a", "destination"}},
		{"ordered by nothing", job + message + "    ordered: true\n", "run", []string{"source.shard_by"}},
		{"topic", job + "    message: {destination: /topic/a}\n", "run", []string{"/topic/a", "allow"}},
		{"template", job + "    message: {destination: '/queue/{a'}\n", "run", []string{"/queue/{a"}},
		{"reserved header", job + "    message: {destination: /queue/a, headers: {persistent: 'false'}}\n", "run", []string{`"persistent" is reserved`}},
		{"both passwords", "broker: {password: a, password_file: b}\n", "run", []string{"exclude each other"}},
		{"password file", "broker: {password_file: /nowhere}\n", "run", []string{"broker.password_file", "/nowhere"}},
		{"certificate", "broker: {url: 'stomp+tls://localhost', tls: {ca_file: /nowhere}}\n", "run", []string{"tls", "/nowhere"}},
		{"database", "database: {max_conns: 1}\n", "run", []string{"database.max_conns: 1"}},
		{"too small for a row", "jobs:\n  outbox: {message: {max_body: 0}}\n", "run", []string{"max_body: 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// Nothing listens on port 1: a command that got as far as the database would end with 5.
			s := shell{t: t, env: map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/none"}}
			if test.file != "" {
				s.env["MODULO_CONFIG"] = write(t, "modulo.yaml", test.file)
			}
			a := s.exits(exitUsage, strings.Fields(test.flags)...)
			for _, word := range test.words {
				if !strings.Contains(a.stderr, word) {
					t.Errorf("no %q in:\n%s", word, a.stderr)
				}
			}
			if a.stdout != "" {
				t.Errorf("on stdout: %s", a.stdout)
			}
			if strings.Contains(a.stderr, "config.") || strings.Contains(a.stderr, "!!") {
				t.Errorf("the error speaks of our types:\n%s", a.stderr)
			}
		})
	}
}

// TestTableErrors: what is wrong with a job's table is told at the start, with what puts it right.
func TestTableErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table invoice (invoice_id int primary key, customer text, sent_at timestamptz);
		insert into invoice values (1, 'x');
		do $$ begin create role reader; exception when duplicate_object then null; end $$; -- roles are the whole server's
		grant usage on schema modulo to reader; grant usage on sequence modulo.epoch to reader;
		grant select on invoice, modulo.schema_version to reader; grant select, insert, update, delete on modulo.failures to reader`)
	asReader := f.db.Config().ConnString() + "&options=-c%20role%3Dreader" // which a pooler would refuse
	for _, test := range []struct {
		name, source, done, message string
		database                    string
		words                       []string
	}{
		{name: "table", source: "table: billing.invoice, id: invoice_id, where: sent_at is null", words: []string{"source.table", "billing.invoice"}},
		{name: "id", source: "table: invoice, id: id, where: sent_at is null", words: []string{"source.id", "no column id", "invoice_id"}},
		{name: "id that is text", source: "table: invoice, id: customer, where: sent_at is null", words: []string{"source.id", "not an integer"}},
		{name: "criteria", source: "table: invoice, id: invoice_id, where: sent is null", words: []string{"source.where", "sent"}},
		{name: "criteria that go on", source: "table: invoice, id: invoice_id, where: 'sent_at is null) or (true'", words: []string{"source.where"}},
		{name: "done", done: "send_at = now()", words: []string{"done.set", "send_at"}},
		{name: "done that does not end", done: "customer = 'done'", words: []string{"done.set", "still pending"}},
		{name: "payload", message: "payload: document", words: []string{"message.payload", "no column document"}},
		{name: "template", message: "event_id: '{number}'", words: []string{"no column number"}},
		{name: "right", database: asReader, words: []string{"rights", "reader", "grant select, update on"}},
	} {
		source, done := test.source, test.done
		if source == "" {
			source = "table: invoice, id: invoice_id, where: sent_at is null"
		}
		if done == "" {
			done = "sent_at = now()"
		}
		config := write(t, "modulo.yaml", fmt.Sprintf("jobs:\n  invoices:\n    source: {%s}\n    done: {set: %q}\n    message: {destination: /queue/none, %s}\n",
			source, done, test.message))
		args := []string{"once", "--config", config}
		if test.database != "" {
			args = append(args, "--database-url", test.database)
		}
		a := f.exits(exitUsage, args...)
		for _, word := range append(test.words, "job invoices") {
			if !strings.Contains(a.stderr, word) {
				t.Errorf("%s: no %q in:\n%s", test.name, word, a.stderr)
			}
		}
	}
	if sent := one[int](f, "select count(*) from invoice where sent_at is not null or customer <> 'x'"); sent != 0 {
		t.Error("a check changed the table")
	}
}

// TestPrecedence: flags beat the environment, the environment beats the file, the file beats the defaults.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	workers := func(want int, args ...string) {
		t.Helper()
		f.exec(`insert into modulo.outbox (destination, payload) values ($1, 'x')`, f.queue)
		f.ok(append([]string{"once"}, args...)...)
		messages := f.taken(f.queue)
		if len(messages) != 1 || !strings.HasSuffix(messages[0].Header.Get("worker"), fmt.Sprint("/", want)) {
			t.Errorf("%v: %d messages of worker %s, want one of %d workers", args, len(messages), headers(messages, "worker"), want)
		}
	}
	workers(5)
	config := write(t, "modulo.yaml", "jobs: {outbox: {workers: 4, cron: '* * * * *'}}\n")
	workers(4, "--config", config)
	f.env["MODULO_CONFIG"] = config
	workers(4)
	f.env["MODULO_WORKERS"] = "3"
	workers(3)
	workers(2, "--workers", "2")
	f.env["MODULO_EVERY"] = "1h"
	workers(3)
	workers(3, "--cron", "0 0 1 1 *")
	f.env["MODULO_CONFIG"] = "nowhere.yaml"
	workers(2, "--config", config, "--workers", "2")

	// The same with the addresses: the file's are wrong, then those of the environment.
	right, broker := f.env["DATABASE_URL"], f.env["MODULO_BROKER_URL"]
	const nowhere = "127.0.0.1:1"
	config = write(t, "modulo.yaml", "database: {url: 'postgres://"+nowhere+"/none'}\nbroker: {url: 'stomp://"+nowhere+"'}\n")
	workers(3, "--config", config)
	f.env["DATABASE_URL"], f.env["MODULO_DATABASE_URL"] = "postgres://"+nowhere+"/none", right
	workers(3, "--config", config)
	f.env["MODULO_DATABASE_URL"], f.env["MODULO_BROKER_URL"] = "postgres://"+nowhere+"/none", "stomp://"+nowhere
	workers(3, "--config", config, "--database-url", right, "--broker-url", broker)
	delete(f.env, "MODULO_DATABASE_URL")
	delete(f.env, "DATABASE_URL")
	delete(f.env, "MODULO_BROKER_URL")
	f.env["RIGHT"], f.env["BROKER"] = right, strings.TrimPrefix(broker, "stomp://")
	workers(3, "--config", write(t, "modulo.yaml", "database: {url: '${RIGHT}'}\nbroker: {url: 'stomp://${BROKER}'}\n"))
}

// TestSecrets: whatever goes wrong with a login, its password is not told.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const secret = "t0p-s3cret"
	s := shell{t: t, secrets: []string{secret}, env: map[string]string{"PASSWORD": secret}}
	closed := "127.0.0.1:1"
	file := func(text string) string { return write(t, "modulo.yaml", text) }
	database := testservers.EmptyDatabase(t)
	for _, args := range [][]string{
		{"status", "--database-url", "postgres://me:" + secret + "@" + closed + "/db"},
		{"status", "--database-url", "postgres://me:" + secret + "@" + closed + "/db?sslmode=nonsense"},
		{"status", "--database-url", "postgres://me:" + secret + " @" + closed + "/db"},
		{"status", "--database-url", "postgres://me:" + secret + "@host:port/db"},
		{"status", "--database-url", "host=127.0.0.1 port=1 user=me password=" + secret + " dbname=x connect_timeout=y"},
		{"status", "--database-url", "host=127.0.0.1 port=1 user=me password='" + secret},
		{"once", "--database-url", database, "--broker-url", "stomp://me:" + secret + "@" + closed},
		{"once", "--database-url", database, "--broker-url", "stomp://me:" + secret + " @" + closed},
		{"once", "--database-url", database, "--broker-url", "stomp://me:" + secret + "@" + closed + "/path"},
		{"once", "--database-url", database, "--broker-url", "stomp://" + closed + ",http://me:" + secret + "@" + closed},
		{"once", "--database-url", database, "--broker-url", secret},
		{"status", "--config", file("database: {url: 'postgres://me:${PASSWORD}@" + closed + "/db'}\n")},
		{"status", "--config", file("database: 'postgres://me:${PASSWORD}@" + closed + "/db'\n")},
		{"status", "--config", file("database: {max_conns: '${PASSWORD}'}\n")},
		{"status", "--config", file("jobs: {outbox: {every: '${PASSWORD}'}}\n")},
		{"once", "--config", file("database: {url: '" + database + "'}\nbroker: {url: 'stomp://" + closed + "', username: me, password: '${PASSWORD}'}\n")},
		{"once", "--config", file("broker: {username: [me], password: [" + secret + "]}\n")},
		{"once", "--config", file("database: {url: '" + database + "'}\nbroker: {username: me, password: \"" + secret + "\\n\\0\"}\n")},
	} {
		if a := s.run(args...); a.code == 0 {
			t.Errorf("%q went well", args)
		}
	}
}

// TestConfigPrintsWhatIsInForce: the variables of run's flags count, and an empty one is as one not set.
func TestConfigPrintsWhatIsInForce(t *testing.T) {
	t.Parallel()
	s := shell{t: t, env: map[string]string{
		"MODULO_WORKERS": "7", "MODULO_CRON": "@daily", "MODULO_BATCH": "", "MODULO_HTTP": "", "MODULO_CONFIRM": "receipt", "MODULO_PPROF": "",
	}}
	told := s.ok("config", "--window", "3")
	for _, want := range []string{"workers: 7\n", "cron: '@daily'\n", "batch: 1000\n", "listen: 127.0.0.1:8080\n", "confirm: receipt\n", "window: 3\n", "pprof: false\n"} {
		if !strings.Contains(told, want) {
			t.Errorf("no %q in:\n%s", want, told)
		}
	}
}
