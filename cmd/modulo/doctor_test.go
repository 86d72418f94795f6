package main

import (
	"encoding/json"
	"strings"
	"testing"

	"modulo/internal/doctor"
)

// A healthy installation passes, before it was run and after; a token that is missing on the broker is found.
func TestDoctor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if out := f.ok("doctor"); !strings.Contains(out, "was never run") || !strings.Contains(out, "ActiveMQ Classic") {
		t.Errorf("before the first run:\n%s", out)
	}
	f.exec("insert into modulo.outbox (destination, payload) values ($1, 'x')", f.queue)
	f.ok("once", "--workers", "2")
	if out := f.ok("doctor"); !strings.Contains(out, "no instance runs it") || !strings.Contains(out, "2 token queues looked at, 2 with one token") {
		t.Errorf("after once:\n%s", out)
	}
	if out := f.ok("doctor", "--workers", "7"); !strings.Contains(out, "K is 2, the configuration says 7") {
		t.Errorf("with a flag of run:\n%s", out)
	}
	f.taken(one[string](f, "select format('/queue/modulo.token.%s.%s.%s', job, number, lineage) from modulo.tokens where number = 1"))
	out := f.exits(exitDoctor, "doctor", "-o", "json").stdout
	var findings doctor.Report
	if err := json.Unmarshal([]byte(out), &findings); err != nil {
		t.Fatal(err)
	}
	failures := 0
	for _, found := range findings {
		if found.Status == doctor.Failure {
			failures++
			if found.Group != "broker" || !strings.Contains(found.Check, "has 0 tokens") || !strings.Contains(found.Hint, "modulo workers reset-token outbox 1") {
				t.Errorf("%+v", found)
			}
		}
	}
	if failures != 1 {
		t.Errorf("%d failures in\n%s", failures, out)
	}
}

// What cannot be reached is told, and the rest is checked all the same.
func TestDoctorWithoutGround(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, test := range map[string]struct{ args, words []string }{
		"no database": {[]string{"--database-url", "postgres://127.0.0.1:1/none"}, []string{"FAIL", "127.0.0.1:1", "ActiveMQ Classic"}},
		"no broker":   {[]string{"--broker-url", "stomp://127.0.0.1:1"}, []string{"FAIL", "127.0.0.1:1", "table modulo.outbox fits, the rights suffice"}},
		"no token":    {[]string{"--config", write(t, "modulo.yaml", "jobs: {outbox: {repeats: none}}\nbroker: {confirm: receipt}\n")}, []string{"FAIL", "keeps no token"}},
		"no table":    {[]string{"--config", write(t, "modulo.yaml", "jobs: {own: {source: {table: nowhere, id: id, where: x is null}, done: {set: x = 1}, message: {destination: /queue/q}}}\n")}, []string{"FAIL", "nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := f.exits(exitDoctor, append([]string{"doctor"}, test.args...)...).stdout
			for _, word := range test.words {
				if !strings.Contains(out, word) {
					t.Errorf("no %q in:\n%s", word, out)
				}
			}
		})
	}
}

// TestRoleWithoutSequence: rights on all tables are not enough. Doctor and once say so, with the statement; status does not need it.
func TestRoleWithoutSequence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`do $$ begin create role tables_only; exception when duplicate_object then null; end $$; -- roles are the whole server's
		grant usage on schema modulo to tables_only; grant select, insert, update, delete on all tables in schema modulo to tables_only`)
	const grant = "grant usage on sequence modulo.epoch to"
	as := f.db.Config().ConnString() + "&options=-c%20role%3Dtables_only" // which a pooler would refuse
	f.refuses(exitUsage, []string{"tables_only may not use sequence modulo.epoch", grant, "modulo doctor"}, "once", "--database-url", as)
	if a := f.exits(exitDoctor, "doctor", "--no-canary", "--database-url", as); !strings.Contains(a.stdout, grant) {
		t.Errorf("doctor:\n%s", a.stdout)
	}
	f.ok("status", "--database-url", as)
	f.exec("grant usage on sequence modulo.epoch to tables_only")
	f.ok("once", "--database-url", as)
}
