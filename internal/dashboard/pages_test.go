package dashboard_test

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"modulo/internal/browser"
)

var (
	//go:embed testdata/axe.min.js
	axe string
	//go:embed testdata/layout.js
	layout string
)

// hostile is what must be shown and never run.
const hostile = `<script>document.title = "run"</script><img src=x onerror="document.title = 'run'"></pre></td><h1>big</h1>`

// allPages are the addresses to look at; %d is a failed row.
var allPages = []string{
	"/", "/jobs/outbox", "/jobs/outbox/workers?to=8", "/jobs/outbox/failed", "/jobs/outbox/failed?class=not_allowed",
	"/jobs/outbox/failed?key=nobody", "/jobs/outbox/failed/retry?class=not_allowed", "/jobs/outbox/failed/discard", "/jobs/outbox/rows/%d",
	"/jobs/outbox/rows/%d?payload=shown", "/jobs/outbox/operations/%d", "/jobs/outbox/passes", "/jobs/outbox/passes?only=trouble", "/jobs/outbox/passes?worker=1",
	"/jobs/outbox/audit", "/jobs/nightly/passes", "/jobs/nightly",
	"/jobs/elsewhere", "/jobs/elsewhere/passes", "/jobs/elsewhere/failed", "/instances", "/audit", "/settings", "/no/such/page",
}

// severe asks axe for what keeps people from using a page.
const severe = `axe.run({resultTypes: ["violations"]%s}).then((r) => r.violations
	.filter((v) => ["serious", "critical"].includes(v.impact))
	.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target.join(" ") + ": " + n.failureSummary.replace(/\s+/g, " "))))`

// TestPages looks at every page, light and dark, wide and narrow: nothing overlaps, is cut off or scrolls sideways, axe finds
// nothing serious, and what rows hold is shown as text.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.exec(`create table nightly (id bigint primary key, sent boolean not null default false)`)
	s.insert(300)
	s.exec("insert into modulo.outbox (destination, key, payload) select '/queue/<b>' || n, 'k<i>', $1 from generate_series(1, 60) as n", hostile)
	s.exec(`insert into modulo.outbox (destination, key, payload, headers) values ($1, 'k<i>', $2, '{"bad name": "x"}')`, s.queue, hostile)
	s.run(`
jobs:
  outbox: {workers: 5, source: {shard_by: key}, retry: {max_attempts: 1}}
  nightly:
    cron: "0 3 * * *"
    timezone: Europe/Berlin
    source: {table: nightly, id: id, where: not sent}
    done: {set: sent = true}
    message: {destination: ` + s.queue + `, payload: row}
http: {payloads: true}
`)
	s.drained()
	s.await("failures", func() bool {
		return one[int](s, "select count(*) from modulo.failures where failed_at is not null") == 61
	})
	s.elsewhere()
	row := one[int64](s, "select row_id from modulo.failures where last_error like '%bad name%'")
	look := s.open("/", browser.Look{})
	look.shows("not configured here")
	look.shows("1 row of elsewhere failed and waits for a person.")
	if got := s.ask(http.MethodGet, "/jobs/elsewhere/workers?to=3", nil); got.code != http.StatusNotFound || !strings.Contains(got.text, "is not configured here") {
		t.Errorf("a preview without its table: %d %s", got.code, got.text)
	}
	entry := s.retryOne(look, row)
	s.exec("insert into modulo.audit (who, action, job, target, result, affected, ended_at) values ('bob', 'retry rows', 'outbox', 'class invalid_message', 'done', 3, now())")
	look.visit(fmt.Sprintf("/jobs/outbox/rows/%d", row))
	look.shows("It may have been among them")
	s.exec("insert into modulo.passes values ('outbox', -1, $1, now(), now(), 2, 0, 0, 0, 0, 0, 'missed', $1)", hostile)
	look.visit("/jobs/outbox")
	look.shows("Last passes")
	look.awaits(`[...document.querySelectorAll("#past tbody .mark")].some((e) => e.textContent === "missed")`)
	s.lookAtPasses(look)
	look.visit("/settings")
	look.click("#doctor")
	look.shows("Run the checks again")
	look.shows("broker: login")

	for _, path := range allPages {
		number := row
		if strings.Contains(path, "operations") {
			number = entry
		}
		path = strings.ReplaceAll(path, "%d", fmt.Sprint(number))
		look.must(look.page.Look(s.ctx, browser.Look{}))
		look.visit(path)
		if strings.Contains(path, "no/such") {
			look.page.Complaints() // the browser calls the answer an error
		}
		look.check(path, "light, 1280 wide", severe, "")
		look.must(look.page.Look(s.ctx, browser.Look{Dark: true}))
		look.check(path, "dark, 1280 wide", severe, `, runOnly: ["color-contrast"]`)
		for _, width := range []int{360, 768, 1000} {
			look.must(look.page.Look(s.ctx, browser.Look{Width: width, Height: 800, Dark: width == 768}))
			look.check(path, fmt.Sprintf("%d wide", width), "[]", "")
		}
	}
	look.must(look.page.Look(s.ctx, browser.Look{}))
	look.visit(fmt.Sprintf("/jobs/outbox/rows/%d", row))
	look.awaits(`!document.body.innerText.includes("onerror")`) // not asked for
	s.exec("update modulo.outbox set headers = null where id = $1", row)
	look.visit(fmt.Sprintf("/jobs/outbox/rows/%d?payload=shown", row))
	look.awaits(fmt.Sprintf("document.getElementById('payload').textContent === %q", hostile))
	look.silent()
}

// elsewhere makes a job that only another instance has in its configuration, with a failed row.
func (s *stage) elsewhere() {
	s.t.Helper()
	s.exec(`insert into modulo.jobs (job, workers) values ('elsewhere', 2)`)
	s.exec(`insert into modulo.instances (instance, host, pid, version, jobs, expires_at)
		values ('00000000-0000-0000-0000-00000000000a', 'other', 7, 'test', '{elsewhere}', now() + interval '1 hour')`)
	s.exec(`insert into modulo.workers (job, generation, number, owner, epoch)
		select 'elsewhere', 1, n, '00000000-0000-0000-0000-00000000000a', 1000000 + n from generate_series(0, 1) as n`)
	s.exec(`insert into modulo.failures (job, row_id, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
		values ('elsewhere', 1, 'e', 8, now(), now(), 'refused', $1)`, hostile)
}

// lookAtPasses finds what the passes did, of all workers and of one, and what went wrong.
func (s *stage) lookAtPasses(t *tab) {
	s.t.Helper()
	const sent = `[...document.querySelectorAll("#past tbody td[data-label=Delivered]")].reduce((sum, e) => sum + Number(e.textContent), 0)`
	t.visit("/jobs/outbox/passes")
	t.awaits(sent + " === 300") // by the stream
	t.click("#passes tbody th a")
	t.awaits(sent + ` < 300 && document.querySelector("#past a[aria-current]").textContent === "Worker 0"`)
	t.awaits(`[...document.querySelectorAll("#past tbody td[data-label=Worker]")].every((e) => e.textContent === "0")`)
	t.click("#past .tabs li:nth-child(2) a")
	t.awaits(`document.querySelectorAll("#past tbody tr").length === 1 && document.querySelector("#past .mark").textContent === "missed"`)
}

// retryOne makes an entry in the audit: a row is tried again, and fails again.
func (s *stage) retryOne(t *tab, row int64) (entry int64) {
	s.t.Helper()
	t.visit(fmt.Sprintf("/jobs/outbox/rows/%d", row))
	t.click("#retry")
	t.shows("Retry 1 row of outbox?")
	t.fill("[name=reason]", "to <see> it")
	t.click("#confirm")
	t.shows("retry rows: row")
	entry = one[int64](s, "select max(id) from modulo.audit")
	s.await("the row to fail again", func() bool {
		return one[bool](s, "select failed_at is not null from modulo.failures where job = 'outbox' and row_id = $1", row)
	})
	return entry
}

// check says what is wrong with how the page is laid out, with its accessibility, and with what it did not let run.
func (t *tab) check(path, how, asked, only string) {
	t.s.t.Helper()
	var problems, findings []string
	t.eval(layout, &problems)
	if asked != "[]" {
		t.eval("!!window.axe || ("+quoted(axe)+", true)", nil)
		t.eval(fmt.Sprintf(asked, only), &findings)
	}
	for _, problem := range append(problems, findings...) {
		t.s.t.Errorf("%s, %s: %s", path, how, problem)
	}
	var title string
	t.eval(`document.title + (document.querySelector("main script, main img, main h1 + h1") ? " run" : "")`, &title)
	if strings.Contains(title, "run") && !strings.Contains(title, "running") {
		t.s.t.Errorf("%s: text of a row was taken for HTML: %q", path, title)
	}
	t.silent()
}

// quoted is a script as an expression.
func quoted(script string) string { return "(() => { " + script + "\n })()" }
