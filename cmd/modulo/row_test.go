package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"modulo/internal/operations"
)

const rowConfig = `
jobs:
  orders:
    source: {table: orders, id: id, where: not sent}
    done: {set: sent = true}
    message: {destination: "/queue/{region}.orders", payload: note, max_body: 50, headers: {type: Order, tenant: "{tenant}"}}
    retry: {max_attempts: 1}
`

// TestRowShow: a row is shown with its message as it would be sent, the body only if it is asked for, and with what people
// did about it.
func TestRowShow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", rowConfig)
	f.exec(`create table orders (id int primary key, region text, tenant text, note text, sent boolean not null default false);
		insert into orders values (1, 'eu', 'a', repeat('long ', 20), false)`)
	f.exits(exitFailedRows, "once", "--workers", "3")
	f.ok("rows", "retry", "orders", "--id", "1", "--yes", "--who", "ann", "--reason", "ticket 4711")
	f.exits(exitFailedRows, "once")
	golden(t, "cli/row-failed.txt", maskedTable(f.ok("rows", "show", "orders", "1")))

	f.exec(`update orders set note = E'two\nlines and \x1b[2J' where id = 1; insert into orders values (2, 'us', E'b\x1b[2J', 'short', false)`)
	hidden, shown := maskedTable(f.ok("rows", "show", "orders", "1")), f.ok("rows", "show", "orders", "1", "--payload")
	for _, want := range []string{"would go to  /queue/eu.orders", "18 bytes, text", "header type  hidden", "header tenant  hidden",
		"header event_id  orders-1", "header job  orders", "header row_id  1", "ticket 4711"} {
		if !strings.Contains(hidden, want) {
			t.Errorf("no %q in\n%s", want, hidden)
		}
	}
	if strings.Contains(hidden, "lines and") || strings.Contains(hidden, "header worker") {
		t.Errorf("the body, or who would send it, is shown:\n%s", hidden)
	}
	if !regexp.MustCompile(`(?m)^header tenant +a\nheader type +Order$`).MatchString(shown) {
		t.Errorf("headers are not shown:\n%s", shown)
	}
	if !strings.Contains(shown, `"two\nlines and \x1b[2J"`) || strings.Contains(shown, "\x1b") {
		t.Errorf("the body is not shown, or moves the cursor:\n%s", shown)
	}
	if told := f.ok("rows", "show", "orders", "2", "--payload"); !strings.Contains(told, "pending") || !strings.Contains(told, "\nshort\n") ||
		!strings.Contains(told, "b\uFFFD[2J") {
		t.Errorf("a row that waits:\n%s", told)
	}
	var row operations.Row
	if err := json.Unmarshal([]byte(f.ok("rows", "show", "orders", "1", "-o", "json")), &row); err != nil {
		t.Fatal(err)
	}
	if row.Failure == nil || !row.Pending || row.Message == nil || row.Message.Body != nil || len(row.History) != 1 {
		t.Errorf("%+v", row)
	}
	f.exec("alter table orders rename to elsewhere")
	if a := f.exits(exitUsage, "rows", "show", "orders", "1"); !strings.Contains(a.stdout, "too_large") || !strings.Contains(a.stderr, "orders does not exist") {
		t.Errorf("without the table:\n%s%s", a.stdout, a.stderr)
	}
	if a := f.exits(exitUsage, "status"); !strings.Contains(a.stdout, "orders") || strings.Count(a.stderr, "orders does not exist") != 2 ||
		strings.Contains(a.stderr, "not in the configuration") {
		t.Errorf("without the table:\n%s%s", a.stdout, a.stderr)
	}
	f.refuses(exitUsage, []string{"orders does not exist"}, "rows", "show", "orders", "2")
	f.env["MODULO_CONFIG"] = "" // then the table of orders is not known
	if told := f.ok("status", "orders"); !strings.Contains(told, "not configured here") {
		t.Errorf("without the configuration:\n%s", told)
	}
	if told := f.ok("rows", "show", "orders", "1"); !strings.Contains(told, "not in this configuration") || !strings.Contains(told, "too_large") {
		t.Errorf("without the configuration:\n%s", told)
	}
	f.refuses(exitRuntime, []string{"orders is not in the configuration"}, "rows", "show", "orders", "2")
}

// TestUnknownJob: a slip in the name of a job is refused by every command, and leaves nothing in the audit.
func TestUnknownJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, command := range []string{
		"pause outbix", "resume outbix", "trigger outbix", "workers list outbix", "workers set outbix 3", "workers set outbix --abort",
		"workers reset-token outbix", "rows list outbix", "rows groups outbix", "rows show outbix 1", "rows retry outbix --yes",
		"rows discard outbix --dry-run", "audit outbix", "status outbix",
	} {
		f.refuses(exitRefused, []string{"no such job", "outbix"}, strings.Fields(command)...)
	}
	for _, command := range []string{"once outbix", "run --job outbix"} {
		f.refuses(exitUsage, []string{`"outbix" is not in the configuration`, "it has: outbox"}, strings.Fields(command)...)
	}
	for _, command := range []string{"pause outbox", "trigger outbox", "workers list outbox", "workers set outbox 3", "workers set outbox --abort"} {
		f.refuses(exitRefused, []string{"job outbox", "no instance has run this job yet"}, strings.Fields(command)...)
	}
	if audit := f.ok("audit"); strings.Contains(audit, "outbix") {
		t.Errorf("audit:\n%s", audit)
	}
}
