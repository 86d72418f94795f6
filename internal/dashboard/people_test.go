package dashboard_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"modulo/internal/browser"
	"modulo/internal/faultproxy"
	"modulo/internal/testservers"
)

const pausedSQL = "select paused from modulo.jobs where job = 'outbox'"

// focused describes what has the focus, and whether one can see that.
const focused = `(() => { const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
	return {name: e.id || e.getAttribute("name") || e.textContent.trim(), top: box.top + scrollY, left: box.left,
		seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.bottom > 0 && box.top < innerHeight}; })()`

// TestKeyboard: from the skip link to a paused job without a mouse; the focus can be seen wherever it is, and stays where
// it is when a part of the page is brought up to date.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run("jobs: {outbox: {workers: 2}}")
	look := s.open("/", browser.Look{})
	look.press("Tab")
	look.awaits(`document.activeElement.className === "skip" && document.activeElement.getBoundingClientRect().top >= 0`)
	look.press("Enter")
	look.awaits(`document.activeElement.id === "content"`)
	tabTo := func(id string) {
		t.Helper()
		for range 40 {
			look.press("Tab")
			var at struct {
				Name string
				Seen bool
			}
			look.eval(focused, &at)
			if !at.Seen {
				t.Errorf("the focus on %q cannot be seen", at.Name)
			}
			if at.Name == id {
				return
			}
		}
		t.Fatalf("no way to %q by Tab", id)
	}
	tabTo("switch-outbox")
	look.press("Enter")
	look.shows("Paused: no worker begins a new batch.")
	if !one[bool](s, pausedSQL) {
		t.Fatal("not paused")
	}
	look.press("Tab")
	tabTo("switch-outbox")
	s.await("the workers to know", func() bool { return s.program.Log.Has(`"paused":true`) })
	s.insert(20) // the table changes, and the focus stays
	look.awaits(`document.querySelector("#jobs td[data-label=Backlog]").textContent !== "0"`)
	look.awaits(`document.activeElement.id === "switch-outbox"`)
	look.press("Space")
	look.shows("Resumed: the workers go on.")
	s.drained()

	look.visit("/jobs/outbox/workers?to=2")
	tabTo("to")
	look.press("Backspace", "4") // selected by Tab
	look.shows("Then: 4 workers")
	tabTo("confirm")
	look.press("Enter")
	look.shows("4 workers are in force")
	look.silent()
}

// TestWithoutScript: links and forms do everything.
func TestWithoutScript(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.exec("insert into modulo.outbox (destination, payload) values ('/topic/wrong', 'x')")
	s.run("jobs: {outbox: {workers: 2, retry: {max_attempts: 1}}}\nhttp: {payloads: true}")
	s.await("a failure", func() bool {
		return one[int](s, "select count(*) from modulo.failures where failed_at is not null") == 1
	})
	row := one[int64](s, "select row_id from modulo.failures")
	look := s.open("/", browser.Look{NoScript: true})
	look.awaits(`document.getElementById("refresh-toggle").hidden && document.querySelector("noscript a")`)
	look.click("#switch-outbox")
	look.shows("Paused: no worker begins a new batch.")
	look.awaits(`document.getElementById("switch-outbox").textContent.startsWith("Resume")`)
	look.click("#switch-outbox")
	look.shows("Resumed: the workers go on.")
	look.click("#job-outbox")
	look.shows("id % 2 = w")
	look.fill("[name=to]", "3")
	look.click("#actions button.first")
	look.shows("Then: 3 workers")
	look.click("#confirm")
	s.await("3 workers", func() bool { return one[int](s, workersSQL) == 3 })
	look.reloads("/jobs/outbox", `document.querySelectorAll("#workers tbody tr").length === 3`)

	s.exec("update modulo.outbox set destination = $1 where id = $2", s.queue, row)
	look.visit(fmt.Sprintf("/jobs/outbox/rows/%d", row))
	look.click("#show-payload")
	look.awaits(`document.getElementById("payload").textContent === "x"`)
	look.click("#retry")
	look.click("#confirm")
	look.shows("retry rows: row")
	s.drained()
	look.reloads("/jobs/outbox/failed", `document.body.innerText.includes("No failed rows")`)
	look.silent()
}

// TestLive: what happens elsewhere shows without a reload; a hidden tab asks for nothing, and catches up when it is seen.
func TestLive(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run("jobs: {outbox: {workers: 2}}")
	look := s.open("/", browser.Look{})
	look.awaits(`document.getElementById("refresh-state").textContent === "live"`)
	hide := func(hidden bool) {
		look.eval(fmt.Sprintf(`Object.defineProperty(document, "hidden", {value: %v, configurable: true}); document.dispatchEvent(new Event("visibilitychange"))`, hidden), nil)
	}
	s.exec("update modulo.jobs set paused = true")
	look.shows("outbox is paused")
	hide(true)
	look.awaits(`document.getElementById("refresh-state").textContent === "paused: hidden"`)
	s.exec("update modulo.jobs set paused = false")
	second := s.open("/", browser.Look{}) // as long as it takes others to see it
	second.awaits(`document.getElementById("refresh-state").textContent === "live" && !document.body.innerText.includes("is paused")`)
	look.awaits(`document.body.innerText.includes("outbox is paused")`)
	hide(false)
	look.awaits(`!document.body.innerText.includes("outbox is paused")`)
	look.click("#refresh-toggle")
	look.awaits(`document.getElementById("refresh-state").textContent === "paused"`)
	var kept []string
	look.eval(`Object.keys(localStorage).concat(Object.keys(sessionStorage))`, &kept)
	if slices.Contains(kept, "htmx-history-cache") {
		t.Errorf("pages are kept in the browser: %q", kept)
	}
	look.silent()
}

// behind runs the program with a proxy before one of its servers, until a page says that all is well.
func (s *stage) behind(server *string) (*faultproxy.Proxy, *tab) {
	s.t.Helper()
	proxy, seen := testservers.Through(s.t, *server)
	*server = seen
	s.run("jobs: {outbox: {workers: 2}}")
	look := s.open("/", browser.Look{})
	look.shows("All is delivered")
	return proxy, look
}

// TestSilentDatabase: the page says that the database does not answer, shows what it knew, and goes on with it afterwards.
func TestSilentDatabase(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	proxy, look := s.behind(&s.url)
	old := s.open("/instances", browser.Look{})
	old.awaits(`document.getElementById("refresh-state").textContent === "live"`)
	proxy.Set(faultproxy.Silent())
	look.shows("The database does not answer")
	look.shows("What you see was read")
	look.awaits(`document.getElementById("job-outbox")`)
	second := s.open("/jobs/outbox/failed", browser.Look{}) // nothing is known of it
	second.shows("The database does not answer")
	second.page.Complaints() // the browser calls the answer an error
	old.awaits(`document.getElementById("refresh-state").textContent === "old: no answer"`)
	proxy.Set(faultproxy.Faults{})
	proxy.CutAll(faultproxy.RST)
	look.shows("All is delivered")
	old.awaits(`document.getElementById("refresh-state").textContent === "live"`)
	look.silent()
}

// TestBrokerGone: the page says that events do not flow, since when, and why.
func TestBrokerGone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	proxy, look := s.behind(&s.broker)
	proxy.Set(faultproxy.Faults{Refuse: true})
	proxy.CutAll(faultproxy.RST)
	s.insert(10)
	look.shows("Events do not flow in outbox")
	look.shows("No worker of outbox gets anywhere: 10 rows wait, the oldest for")
	look.silent()
}

// TestUnreadableHistory: the page of a job says that its passes cannot be read, and shows the rest.
func TestUnreadableHistory(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run("jobs: {outbox: {workers: 2}}")
	s.exec("alter table modulo.passes rename to unreadable")
	s.await("a page that says so", func() bool {
		got := s.ask(http.MethodGet, "/jobs/outbox", nil)
		return got.code == http.StatusOK && strings.Contains(got.text, "The history cannot be read: ") && !strings.Contains(got.text, "Nothing so far")
	})
}
