package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"modulo/internal/config"
)

// commented finds the settings that the example shows in comments, and comments in those again.
var commented = regexp.MustCompile(`(?m)^((?:  )*)# ((?:  )*(?:# )?[a-z_]+:(?: .*)?)$`)

// uncommented makes every commented setting of an example real.
func uncommented(text string) string {
	for commented.MatchString(text) {
		text = commented.ReplaceAllString(text, "$1$2")
	}
	return text
}

// TestInitExample loads the example as it is printed, and with every commented setting in force.
func TestInitExample(t *testing.T) {
	t.Parallel()
	s := shell{t: t}
	example := s.ok("init")
	golden(t, "cli/init.yaml", example)
	lookup := func(name string) (string, bool) { return "postgres://localhost/" + name, name == "DATABASE_URL" }
	password := write(t, "password", "secret\n")
	for name, text := range map[string]string{
		"as printed":  example,
		"uncommented": strings.Replace(uncommented(example), "/run/secrets/mq", password, 1),
	} {
		c, err := config.Load(write(t, "modulo.yaml", text), lookup, config.Overrides{})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if c.Database.URL != "postgres://localhost/DATABASE_URL" {
			t.Errorf("%s: database %s", name, c.Database.URL)
		}
		var names []string
		for _, job := range c.JobList() {
			names = append(names, job.Name)
		}
		if want := map[string]string{"as printed": "outbox", "uncommented": "invoices outbox"}[name]; strings.Join(names, " ") != want {
			t.Errorf("%s: jobs %v, want %s", name, names, want)
		}
		if name == "uncommented" && (c.Broker.Username != "app" || c.Broker.Password != "secret" || c.JobList()[0].Source.ShardBy != "customer_id") {
			t.Errorf("comments are left:\n%s", text)
		}
	}
}

// TestInitDefaults: what the example says to be the default is the default.
func TestInitDefaults(t *testing.T) {
	t.Parallel()
	s := shell{t: t}
	text := regexp.MustCompile(`(?m)^  # (max_conns|receipt_timeout|heartbeat):`).ReplaceAllString(s.ok("init"), "  $1:")
	lookup := func(string) (string, bool) { return "", true }
	example, err := config.Load(write(t, "modulo.yaml", text), lookup, config.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := config.Load("", lookup, config.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if example.Database != defaults.Database || example.Broker != defaults.Broker {
		t.Errorf("example: %+v %+v\ndefaults: %+v %+v", example.Database, example.Broker, defaults.Database, defaults.Broker)
	}
	if e, d := example.JobList()[0], defaults.JobList()[0]; e.Workers != d.Workers || e.Schedule != d.Schedule {
		t.Errorf("example: %d workers %+v, defaults: %d workers %+v", e.Workers, e.Schedule, d.Workers, d.Schedule)
	}
}

func TestInitKeepsFiles(t *testing.T) {
	t.Parallel()
	s := shell{t: t}
	file := filepath.Join(t.TempDir(), "modulo.yaml")
	if told := s.ok("init", "--out", file); told != "" {
		t.Errorf("on stdout beside --out: %s", told)
	}
	written, err := os.ReadFile(file)
	if err != nil || string(written) != s.ok("init") {
		t.Errorf("written: %v\n%s", err, written)
	}
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refuses(exitRefused, []string{file, "exists"}, "init", "--out", file)
	if kept, err := os.ReadFile(file); err != nil || string(kept) != "precious" {
		t.Errorf("kept: %v %q", err, kept)
	}
	s.refuses(exitRuntime, []string{"no such file or directory"}, "init", "--out", filepath.Join(filepath.Dir(file), "none", "modulo.yaml"))
}

// TestInitFromTable: for tables of many styles the configuration works, once what is marked is filled in.
func TestInitFromTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create schema shop; create schema "Odd Shop";
		create table shop.init_order (order_id bigint primary key, customer text, sent_at timestamptz);
		create table init_flag (id int primary key, exported boolean not null, body text);
		create type shop.status as enum ('NEW', 'SENT');
		create table shop.init_status (number smallint unique not null, status shop.status);
		create table "Odd Shop"."Init ""Lines"" {1}" ("Line Id" int primary key, "say ""hi"" \n" text, "größe: #1" text, processed boolean);
		create table init_bare (a int, b int not null unique, c text);
		insert into shop.init_order values (1, 'x'), (2, 'y');
		insert into init_flag values (1, false, 'x');
		insert into shop.init_status values (1, 'NEW'), (2, 'SENT');
		insert into "Odd Shop"."Init ""Lines"" {1}" values (1, 'x', 'y');
		insert into init_bare values (1, 1, 'open')`)
	for _, test := range []struct {
		table, queue, left string
		sent               int
		fill               [][2]string // FILL IN marks and what a person writes there
	}{
		{table: "shop.init_order", queue: "init_order", sent: 2, left: "select count(*) from shop.init_order where sent_at is null"},
		{table: "init_flag", queue: "init_flag", sent: 1, left: "select count(*) from init_flag where not exported"},
		{table: "shop.init_status", queue: "init_status", sent: 1, left: "select count(*) from shop.init_status where status = 'NEW'"},
		{
			table: `"Odd Shop"."Init ""Lines"" {1}"`, queue: "initlines1", sent: 1,
			left: `select count(*) from "Odd Shop"."Init ""Lines"" {1}" where processed is not true`,
		},
		{
			table: "init_bare", queue: "init_bare", sent: 1, left: "select count(*) from init_bare where c = 'open'",
			fill: [][2]string{{`where: ""`, `where: c = 'open'`}, {`set: ""`, `set: c = 'sent'`}},
		},
	} {
		file := filepath.Join(t.TempDir(), "modulo.yaml")
		f.ok("init", "--from-table", test.table, "--out", file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if marks := strings.Count(string(text), "FILL IN"); marks != len(test.fill) {
			t.Errorf("%s: %d marks, want %d\n%s", test.table, marks, len(test.fill), text)
		}
		if len(test.fill) > 0 {
			f.exits(exitUsage, "once", "--config", file)
		}
		filled := string(text)
		for _, mark := range test.fill {
			filled = strings.Replace(filled, mark[0], mark[1], 1)
		}
		filled = strings.Replace(filled, "url: \"stomp://127.0.0.1:61613\"", "url: \""+f.mq.URL()+"\"", 1)
		a := f.run("once", "--config", write(t, "modulo.yaml", filled))
		if a.code != 0 {
			t.Errorf("%s: exit code %d\n%s\n%s", test.table, a.code, a.stderr, filled)
			continue
		}
		if sent := f.taken("/queue/" + test.queue); len(sent) != test.sent || len(sent[0].Body) == 0 {
			t.Errorf("%s: %d messages in queue %s, want %d", test.table, len(sent), test.queue, test.sent)
		}
		if left := one[int](f, test.left); left != 0 {
			t.Errorf("%s: %d rows are not done", test.table, left)
		}
		real := strings.Replace(uncommented(filled), "/run/secrets/mq", write(t, "password", "secret"), 1)
		if _, err := config.Load(write(t, "modulo.yaml", real), f.lookup, config.Overrides{}); err != nil {
			t.Errorf("%s: with its comments in force: %v\n%s", test.table, err, real)
		}
	}
	f.refuses(exitUsage, []string{"no_such_table"}, "init", "--from-table", "no_such_table")
	f.refuses(exitUsage, []string{"job of its own"}, "init", "--from-table", "modulo.outbox")
}
