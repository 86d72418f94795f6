package store

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestStatements(t *testing.T) {
	t.Parallel()
	outbox := statements{
		job: "outbox", table: `"modulo"."outbox"`, id: `"id"`, where: "done_at is null", doneSet: "done_at = now()",
		payload: `(t."payload")::text`, fields: []string{`"destination"`, `"event_id"`, `"headers"`}, batch: 1000,
		age:      "(select date_part('epoch', clock_timestamp())) - date_part('epoch', t.created_at)",
		timeline: timeline,
	}
	odd := statements{
		job: "it's", table: `"Bil""ling"."select"`, id: `"Ord-er"`, key: `"customer id"`, ordered: true, batch: 10,
		where: "a = 1 or b -- either", doneSet: "a = 2, b = false -- both", payload: rowJSON([]string{"Ord-er", `q"`}), age: "null::float8",
		timeline: noTimeline,
	}
	for name, s := range map[string]*statements{"outbox": &outbox, "odd": &odd} {
		golden(t, name+"_fetch_0_of_1.sql", s.fetch(jobs.Shard{Number: 0, Of: 1}))
		golden(t, name+"_fetch_0_of_5.sql", s.fetch(jobs.Shard{Number: 0, Of: 5}))
		golden(t, name+"_fetch_3_of_5.sql", s.fetch(jobs.Shard{Number: 3, Of: 5}))
		golden(t, name+"_front.sql", s.front())
		golden(t, name+"_due.sql", s.due())
		golden(t, name+"_mark.sql", s.mark())
		golden(t, name+"_settle.sql", s.settle())
		golden(t, name+"_park.sql", s.park())
		golden(t, name+"_backlog.sql", s.backlog(true))
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got+"\n" != string(want) {
		t.Errorf("%s differs (run the tests with -update to accept):\n%s", name, got)
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]pgx.Identifier{
		"outbox":            {"outbox"},
		"billing.invoice":   {"billing", "invoice"},
		"Ord-er.select":     {"Ord-er", "select"},
		`a"b.c'd`:           {`a"b`, "c'd"},
		`"dotted.na""me".t`: {`dotted.na"me`, "t"},
		`x; drop table y`:   {"x; drop table y"},
	} {
		if got, err := parseName(name); err != nil || got.Sanitize() != want.Sanitize() {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".b", "a.b.c", `"a`, `"a"b`, `a."b`, `""`, "a\x00b"} {
		if got, err := parseName(bad); err == nil {
			t.Errorf("%q is read as %q", bad, got)
		}
	}
}

// A name never gets out of its quotes.
func FuzzQuoteName(f *testing.F) {
	for _, seed := range []string{"id", `a"b`, `"; drop table x; --`, "\x00\"", `\`, "a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		name = strings.ReplaceAll(name, "\x00", "")
		for _, sql := range []string{quoteName(name), quoteText(name)} {
			sql = strings.TrimPrefix(sql, " ")
			if token, err := nextToken(sql); err != nil || token != sql {
				t.Fatalf("%q is quoted as %q, of which only %q is quoted: %v", name, sql, token, err)
			}
		}
	})
}
