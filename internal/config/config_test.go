package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modulo/jobs"
)

// load reads a file with this text.
func load(t testing.TB, text string, environment map[string]string, over Overrides) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "modulo.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, func(name string) (string, bool) { value, ok := environment[name]; return value, ok }, over)
}

func mustLoad(t testing.TB, text string, environment map[string]string, over Overrides) *Config {
	t.Helper()
	c, err := load(t, text, environment, over)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const ownTable = `
jobs:
  invoices:
    source: {table: billing.invoice, id: invoice_id, where: "sent_at is null"}
    done: {set: "sent_at = now()"}
    message: {destination: /queue/billing.invoice}
`

func TestWithoutAFile(t *testing.T) {
	t.Parallel()
	c, err := Load("", os.LookupEnv, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	list := c.JobList()
	if len(list) != 1 || list[0].Name != "outbox" {
		t.Fatalf("jobs: %+v", list)
	}
	outbox := list[0]
	if outbox.Workers != 5 || outbox.Schedule.Every != 500*time.Millisecond || outbox.Batch != 1000 {
		t.Errorf("outbox: %+v", outbox)
	}
	if outbox.Source != (jobs.Source{Table: "modulo.outbox", ID: "id", Where: "done_at is null", DoneSet: "done_at = now()"}) {
		t.Errorf("source: %+v", outbox.Source)
	}
	if outbox.Message.Payload.Column != "payload" || outbox.Message.EventID != "{event_id}" || outbox.Message.HeadersColumn != "headers" {
		t.Errorf("message: %+v", outbox.Message)
	}
}

// An empty file, or one with comments only, is as none.
func TestEmptyFile(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "jobs:\n", "\r\n# Windows\r\n"} {
		if c := mustLoad(t, text, nil, Overrides{}); len(c.JobList()) != 1 {
			t.Errorf("%q: %+v", text, c.JobList())
		}
	}
}

func TestOwnTable(t *testing.T) {
	t.Parallel()
	job := mustLoad(t, ownTable, nil, Overrides{}).JobList()[0]
	if job.Workers != 5 || !job.Message.Payload.Row || job.Message.EventID != "invoices-{invoice_id}" ||
		job.Message.MaxBody != jobs.DefaultMaxBody || job.Retry.MaxAttempts != 8 || job.Retry.MaxBackoff != 15*time.Minute {
		t.Errorf("%+v", job)
	}
}

// What is given for the job outbox replaces its settings one by one.
func TestOutboxInPart(t *testing.T) {
	t.Parallel()
	job := mustLoad(t, "jobs:\n  outbox:\n    workers: 2\n    source: {shard_by: key}\n    ordered: true\n", nil, Overrides{}).JobList()[0]
	if job.Workers != 2 || job.Source.ShardBy != "key" || !job.Ordered || job.Source.Table != "modulo.outbox" || len(job.Message.Headers) != 2 {
		t.Errorf("%+v", job)
	}
}

// A job listens if it says so, and never by cron, from wherever that comes.
func TestListen(t *testing.T) {
	t.Parallel()
	const text = "database: {listen_url: postgres://direct}\njobs:\n  outbox: {listen: true, every: 1s}\n"
	c := mustLoad(t, text, nil, Overrides{})
	if !c.JobList()[0].Listen || c.Database.ListenURL != "postgres://direct" || mustLoad(t, ownTable, nil, Overrides{}).JobList()[0].Listen {
		t.Errorf("%+v %+v", c.Database, c.JobList()[0])
	}
	_, err := load(t, text, nil, Overrides{Cron: "*/5 * * * *"})
	if err == nil || !strings.Contains(err.Error(), "listen: goes with every only") {
		t.Errorf("listen with --cron: %v", err)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	workers, batch, every, window := 3, 10, time.Second, 7
	c := mustLoad(t, "database: {url: postgres://file}\nbroker: {url: stomp://file, window: 5}\n"+ownTable, nil, Overrides{
		DatabaseURL: "postgres://flag", BrokerURL: "stomp://flag", Confirm: "receipt",
		Workers: &workers, Batch: &batch, Every: &every, Window: &window,
	})
	job := c.JobList()[0]
	if c.Database.URL != "postgres://flag" || job.Workers != 3 || job.Batch != 10 || job.Schedule.Every != time.Second {
		t.Errorf("%+v %+v", c.Database, job)
	}
	if b := c.BrokerConfig(); b.URL != "stomp://flag" || b.Confirm != "receipt" || b.Window != 7 {
		t.Errorf("%+v", b)
	}
	cron := mustLoad(t, ownTable, nil, Overrides{Cron: "*/5 * * * *", Timezone: "Europe/Berlin"}).JobList()[0]
	if cron.Schedule != (jobs.Schedule{Cron: "*/5 * * * *", Timezone: "Europe/Berlin"}) {
		t.Errorf("%+v", cron.Schedule)
	}
}

// A variable stands for a value of any kind, and whatever is in it stays one value.
func TestVariables(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, `
database:
  url: "${URL}"
  max_conns: ${CONNS}
  statement_timeout: ${TIMEOUT}
jobs:
  outbox:
    workers: ${K}
    message: {allow: ["/queue/${ENV}.*"], destination: "/queue/${ENV}.a"}
    retry: {backoff: "${MIN}..10m"}
`, map[string]string{
		"URL": "postgres://u:p@h/d}\n  max_conns: 3 # {", "CONNS": "20", "TIMEOUT": "5s", "K": "7", "ENV": "test", "MIN": "2s",
	}, Overrides{})
	job := c.JobList()[0]
	if c.Database.URL != "postgres://u:p@h/d}\n  max_conns: 3 # {" || c.Database.MaxConns != 20 || c.Database.StatementTimeout != Duration(5*time.Second) {
		t.Errorf("%+v", c.Database)
	}
	if job.Workers != 7 || job.Message.Destination != "/queue/test.a" || job.Retry.MinBackoff != 2*time.Second {
		t.Errorf("%+v", job)
	}
}

func TestPayload(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]jobs.Payload{
		"row":                      {Row: true},
		"body":                     {Column: "body"},
		`"sql: to_jsonb(t)"`:       {SQL: "to_jsonb(t)"},
		`{sql: "t.a || t.b"}`:      {SQL: "t.a || t.b"},
		`"sql:coalesce(a, 'row')"`: {SQL: "coalesce(a, 'row')"},
	} {
		job := mustLoad(t, strings.Replace(ownTable, "{destination", "{payload: "+text+", destination", 1), nil, Overrides{}).JobList()[0]
		got := job.Message.Payload
		if got.Row != want.Row || got.Column != want.Column || got.SQL != want.SQL {
			t.Errorf("payload: %s is %+v, want %+v", text, got, want)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("se cret:\\\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, "broker: {username: app, password_file: \"${FILE}\"}", map[string]string{"FILE": path}, Overrides{})
	if b := c.BrokerConfig(); b.Username != "app" || b.Password != "se cret:\\" {
		t.Errorf("%q", b.Password)
	}
}

// Each mistake is told with its place, and without what may be secret.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"databse: {url: a}", `line 1: unknown key "databse"`},
		{"broker:\n  ur: a\n", `line 2: unknown key "ur"`},
		{"broker:\n  tls: {ca: a}\n", `line 2: unknown key "ca"`},
		{"jobs:\n  outbox:\n    worker: 5\n", `line 3: unknown key "worker"`},
		{"jobs:\n  outbox:\n    message:\n      header: {a: b}\n", `line 4: unknown key "header"`},
		{"jobs:\n  outbox:\n    source: {tabel: a}\n    every: ${NOT_SET}\n", `line 3: unknown key "tabel"`},
		{"jobs: {outbox: {workers: 5}, outbox: {}}", "already defined"},
		{"jobs:\n  outbox:\n    every: 5 minutes\n", "line 3"},
		{"jobs:\n  outbox: {every: 1s, cron: \"* * * * *\"}\n", "either every or cron"},
		{"jobs:\n  outbox: {cron: \"61 * * * *\"}\n", "cron"},
		{"jobs:\n  outbox: {cron: \"* * * * *\", timezone: Europe/Nowhere}\n", "timezone"},
		{"jobs:\n  outbox: {retry: {backoff: 1s}}\n", "1s..15m"},
		{"jobs:\n  outbox: {workers: 0}\n", "workers: 0"},
		{"jobs:\n  outbox: {workers: 1025}\n", "workers: 1025"},
		{"jobs:\n  outbox: {batch: 0}\n", "batch: 0"},
		{"jobs:\n  outbox: {ordered: true}\n", "shard_by"},
		{"jobs:\n  Outbox: {}\n", "name"},
		{"jobs:\n  other: {}\n", "source.table: missing"},
		{"jobs:\n  outbox: {message: {destination: /topic/a}}\n", "/topic/a"},
		{"database: {url: \"${NOT_SET}\"}", "line 1: environment variable NOT_SET is not set"},
		{"database: {max_conns: 1}", "max_conns"},
		{"database: {statement_timeout: 1ms}", "statement_timeout"},
		{"broker: {window: 0}", "window"},
		{"retention: {done: 7s}", "retention.done: 7s is less than 1m0s"},
		{"retention: {failed: -1h}", "retention.failed"},
		{"broker: {password: secret, password_file: secret}", "exclude each other"},
		{"broker: {password_file: /does/not/exist}", "password_file"},
		{"jobs: [", "line"},
		{"jobs: 5", "line 1"},
	} {
		_, err := load(t, c.text, nil, Overrides{})
		switch {
		case err == nil:
			t.Errorf("%q is accepted", c.text)
		case !strings.Contains(err.Error(), c.want):
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		case strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

// Without heart-beats nobody notices that the holder of a token is cut off. Where repeats are taken that does no harm.
func TestHeartbeatAndRepeats(t *testing.T) {
	t.Parallel()
	for _, heartbeat := range []string{"0s", "-1s"} {
		text := "broker: {heartbeat: " + heartbeat + "}\njobs:\n  outbox: {repeats: %s}\n"
		_, err := load(t, strings.ReplaceAll(text, "%s", "none"), nil, Overrides{})
		if err == nil || !strings.Contains(err.Error(), "job outbox: repeats: none needs heart-beats") {
			t.Errorf("%s: %v", heartbeat, err)
		}
		c := mustLoad(t, strings.ReplaceAll(text, "%s", "possible"), nil, Overrides{})
		if c.BrokerConfig().Heartbeat >= 0 {
			t.Errorf("%s: the broker is told %s", heartbeat, c.BrokerConfig().Heartbeat)
		}
		if _, err := load(t, strings.ReplaceAll(text, "%s", "possible"), nil, Overrides{Repeats: "none"}); err == nil {
			t.Errorf("%s: the flag --repeats none is accepted", heartbeat)
		}
	}
}

// All mistakes are told at once.
func TestSeveralMistakes(t *testing.T) {
	t.Parallel()
	_, err := load(t, "broker: {window: 5}\njobs:\n  outbox: {workers: 0, batch: -1, retry: {max_attempts: 0}}\n  other: {}\n", nil, Overrides{JobNames: []string{"outbox", "missing"}})
	for _, want := range []string{"workers: 0", "batch: -1", "max_attempts: 0", `job "missing" is not in the configuration; it has: other, outbox`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell %q", err, want)
		}
	}
}

// FuzzLoad: whatever a file holds, reading it ends with a configuration that is complete or with an error.
func FuzzLoad(f *testing.F) {
	f.Add(ownTable)
	f.Add("database: {url: \"${A}\"}\nbroker: {tls: {ca_file: a}}\njobs:\n  outbox: {workers: ${A}, every: ${A}, retry: {backoff: ${A}}}\n")
	f.Add("jobs:\n  outbox: {message: {payload: {sql: a}, headers: {a: \"{b}\"}, columns: [a]}}\n")
	f.Add("a: &a [*a]\n")
	f.Add("? {}\n: 5\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load(t, text, map[string]string{"A": "5"}, Overrides{})
		if err != nil {
			return
		}
		for _, job := range c.JobList() {
			if err := job.Check(); err != nil {
				t.Errorf("accepted: %v", err)
			}
		}
	})
}
