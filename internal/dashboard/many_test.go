package dashboard_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"modulo/internal/browser"
)

// failed is how many failed rows TestManyFailures puts right: -failed 200000 for the full number.
var failed = flag.Int("failed", 2000, "failed rows of TestManyFailures")

// TestManyFailures: any number of failed rows is listed page by page, grouped, filtered, and retried in full.
func TestManyFailures(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	n := *failed - *failed%8
	s.limit += time.Duration(n) * time.Millisecond
	s.insert(n)
	s.exec(`insert into modulo.failures (job, row_id, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
		select 'outbox', id, event_id::text, 3, now(), now(),
		  (array['refused', 'invalid_message', 'too_large', 'not_allowed'])[1 + id % 4],
		  case when id % 8 < 4 then 'the broker says no to message ' || id else 'limit ' || id || ' of queue orders' end
		from modulo.outbox`)
	s.exec("analyze modulo.failures")
	s.run("jobs: {outbox: {workers: 4, every: 100ms, batch: 1000}}")
	look := s.open("/jobs/outbox/failed", browser.Look{})
	look.shows(fmt.Sprintf("%s rows with a failure record, %[1]s of them wait for a person.", commas(n)))
	look.awaits(`document.querySelectorAll("#groups tbody tr").length === 8`)
	look.shows(fmt.Sprintf("Retry %s …", commas(n/8)))

	var first, next string
	look.eval(`document.querySelector("#rows tbody a").textContent`, &first)
	look.click("#rows a[rel=next]")
	look.awaits(fmt.Sprintf(`document.querySelector("#rows tbody a") && document.querySelector("#rows tbody a").textContent !== %q`, first))
	look.eval(`document.querySelector("#rows tbody a").textContent`, &next)
	if next != fmt.Sprint(one[int64](s, "select row_id from modulo.failures order by row_id offset 50 limit 1")) {
		t.Errorf("the second page begins with row %s, the first one with %s", next, first)
	}
	look.eval(`(() => { const e = document.getElementById("filter-class"); e.value = "refused"; e.dispatchEvent(new Event("change", {bubbles: true})); })()`, nil)
	look.shows(fmt.Sprintf("%s rows match the filter", commas(n/4)))
	look.fill("#filter-text", "QUEUE ORDERS")
	look.press("Enter")
	look.shows(fmt.Sprintf("%s rows match the filter", commas(n/8)))
	look.visit("/jobs/outbox/failed?key=nobody")
	look.shows("No row matches")

	look.visit("/jobs/outbox/failed")
	look.click("#retry-all")
	look.shows(fmt.Sprintf("Retry %s rows of outbox?", commas(n)))
	look.click("#confirm")
	look.shows(fmt.Sprintf("%s of %[1]s rows", commas(n)))
	s.await("no failed row", func() bool { return one[int](s, "select count(*) from modulo.failures") == 0 })
	if left, done := one[int](s, "select count(*) from modulo.failures"), one[int](s, "select count(*) from modulo.outbox where done_at is not null"); left != 0 || done != n {
		t.Errorf("%d records are left, %d of %d rows delivered", left, done, n)
	}
	look.visit("/jobs/outbox/failed")
	look.shows("No failed rows")
	look.silent()
}

// commas writes numbers up to a million as the pages do.
func commas(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
