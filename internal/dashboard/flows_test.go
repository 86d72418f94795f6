package dashboard_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"modulo/internal/browser"
)

// load inserts events all the time until the returned function is called, which says how many there were.
func (s *stage) load(perSecond int) (stop func() int) {
	s.t.Helper()
	ctx, end := context.WithCancel(s.ctx)
	inserted := 0
	var loading sync.WaitGroup
	loading.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.insert(perSecond / 10)
			inserted += perSecond / 10
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	return func() int { end(); loading.Wait(); return inserted }
}

const workersSQL = "select workers from modulo.jobs where job = 'outbox'"

// TestChangeUnderLoad: the preview, the confirmation and the live progress of a change of K while rows come in.
func TestChangeUnderLoad(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run("jobs: {outbox: {workers: 3, every: 50ms}}")
	stop := s.load(400)
	look := s.open("/", browser.Look{})
	look.shows("Events flow")
	look.click("#job-outbox")
	look.shows("worker w sends the rows where id % 3 = w")
	look.fill("[name=to]", "7")
	look.click("#actions button.first")
	look.shows("Change from 3 to 7 workers?")
	look.shows("Then: 7 workers")
	look.fill("#preview [name=reason]", "more load")
	look.click("#confirm")
	look.shows("7 workers are in force") // by the stream: nobody reloads
	look.awaits(`document.querySelectorAll("#workers tbody tr").length === 7`)
	look.awaits(`[...document.querySelectorAll("#workers tbody .mark")].every((m) => /delivering|idle/.test(m.textContent))`)
	look.check("/jobs/outbox", "after a change", severe, "")
	inserted := stop()
	s.drained()
	if k, done := one[int](s, workersSQL), one[int](s, "select count(*) from modulo.outbox where done_at is not null"); k != 7 || done != inserted {
		t.Errorf("%d workers, %d of %d rows delivered", k, done, inserted)
	}
	if why := one[string](s, "select reason from modulo.audit where action = 'change workers' and result = 'done'"); why != "more load" {
		t.Errorf("the audit says %q", why)
	}
	// Who looked at another generation is refused, and told so.
	answer := s.post("/jobs/outbox/workers", url.Values{"to": {"2"}, "generation": {"1"}})
	if answer.code != http.StatusConflict || !strings.Contains(answer.text, "somebody else has changed its workers") {
		t.Errorf("another generation: %d %s", answer.code, answer.text)
	}
	for want, form := range map[int]url.Values{http.StatusBadRequest: {}, http.StatusConflict: {"to": {"7"}, "generation": {"1"}}} {
		if answer := s.post("/jobs/outbox/workers/abort", form); answer.code != want {
			t.Errorf("taking back %v: %d %s", form, answer.code, answer.text)
		}
	}
}

// answer is what a request got.
type answer struct {
	code int
	text string
}

func (s *stage) post(path string, form url.Values, headers ...string) answer {
	s.t.Helper()
	return s.ask(http.MethodPost, path, form, headers...)
}

func (s *stage) ask(method, path string, form url.Values, headers ...string) answer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.ctx, method, s.site+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, string(text)}
}

// TestRetryGroup: failed rows of one cause are put right together, and those of another stay.
func TestRetryGroup(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.exec("insert into modulo.outbox (destination, payload) select '/topic/wrong.' || n, n from generate_series(1, 30) as n")
	s.exec(`insert into modulo.outbox (destination, payload, headers) select $1, n, '{"bad name": "x"}' from generate_series(1, 20) as n`, s.queue)
	s.run("jobs: {outbox: {workers: 2, every: 50ms, retry: {max_attempts: 1}}}")
	s.await("failures", func() bool {
		return one[int](s, "select count(*) from modulo.failures where failed_at is not null") == 50
	})
	look := s.open("/", browser.Look{})
	look.shows("50 rows of outbox failed and wait for a person.")
	look.click("#failed-outbox")
	look.shows("Retry 30")
	s.exec("update modulo.outbox set destination = $1 where destination like '/topic/%'", s.queue)
	look.click("#retry-0")
	look.shows("Retry 30 rows of outbox?")
	look.fill("[name=reason]", "queue instead of topic")
	look.click("#confirm")
	look.shows("30 of 30 rows")
	look.awaits(`document.querySelector("#operation .mark").textContent === "done"`)
	s.await("delivery", func() bool { return one[int](s, "select count(*) from modulo.outbox where done_at is not null") == 30 })
	look.visit("/jobs/outbox/failed")
	look.shows("Retry all 20")
	look.silent()

	// The number that was seen has to be the number that is changed.
	form := url.Values{"expect": {"21"}, "class": {"invalid_message"}}
	if got := s.post("/jobs/outbox/failed/retry", form); got.code != http.StatusConflict || !strings.Contains(got.text, "You saw 21 rows, now 20 rows match") {
		t.Errorf("another number: %d %s", got.code, got.text)
	}
	form.Set("expect", "20")
	if got := s.post("/jobs/outbox/failed/discard", form); got.code != http.StatusBadRequest {
		t.Errorf("discarded without being sure: %d", got.code)
	}
	form.Set("sure", "yes")
	if got := s.post("/jobs/outbox/failed/discard", form); got.code != http.StatusSeeOther {
		t.Errorf("discard: %d %s", got.code, got.text)
	}
	s.await("discarded rows to be marked", func() bool { return one[int](s, "select count(*) from modulo.failures") == 0 })
}

// TestReadOnly: who may not change anything is shown no button, and refused by the server all the same.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.exec("insert into modulo.outbox (destination, payload) values ('/topic/wrong', 'secret payload')")
	users := filepath.Join(t.TempDir(), "users")
	hash, err := bcrypt.GenerateFromPassword([]byte("reading"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(users, []byte("rita:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("jobs: {outbox: {workers: 2, retry: {max_attempts: 1}}}\nhttp: {prefix: /modulo, users_file: " + users + "}")
	s.await("a failure", func() bool {
		return one[int](s, "select count(*) from modulo.failures where failed_at is not null") == 1
	})
	row := one[int64](s, "select row_id from modulo.failures")
	look := s.open("/modulo/", browser.Look{User: "rita", Secret: "reading"})
	for _, path := range []string{"/", "/jobs/outbox", "/jobs/outbox/failed", "/jobs/outbox/workers?to=4", "/jobs/outbox/failed/retry", fmt.Sprintf("/jobs/outbox/rows/%d?payload=shown", row), "/settings"} {
		look.visit("/modulo" + path)
		look.shows("read-only")
		var offered []string
		look.eval(`[...document.querySelectorAll("form[method=post], a[href*='/retry'], a[href*='/discard']")].map((e) => e.outerHTML)`, &offered)
		if len(offered) > 0 {
			t.Errorf("%s offers %q", path, offered)
		}
		look.awaits(`!document.body.innerText.includes("secret payload")`)
		look.awaits(`[...document.querySelectorAll("a[href^='/'], form, link, script")].every((e) => (e.getAttribute("href") || e.getAttribute("action") || e.getAttribute("src") || "/modulo/").startsWith("/modulo/"))`)
	}
	look.silent()
	login := []string{"Authorization", "Basic cml0YTpyZWFkaW5n"}
	for path, form := range map[string]url.Values{
		"/jobs/outbox/pause":          {},
		"/jobs/outbox/trigger":        {},
		"/jobs/outbox/workers":        {"to": {"4"}, "generation": {"1"}},
		"/jobs/outbox/workers/abort":  {"to": {"4"}, "generation": {"1"}},
		"/jobs/outbox/failed/retry":   {"expect": {"1"}},
		"/jobs/outbox/failed/discard": {"expect": {"1"}, "sure": {"yes"}},
		"/settings/doctor":            {},
	} {
		if got := s.post("/modulo"+path, form, login...); got.code != http.StatusForbidden {
			t.Errorf("%s: %d", path, got.code)
		}
		if got := s.post("/modulo"+path, form); got.code != http.StatusUnauthorized {
			t.Errorf("%s without a login: %d", path, got.code)
		}
	}
	if got := s.ask(http.MethodGet, "/modulo/", nil); got.code != http.StatusUnauthorized {
		t.Errorf("without a login: %d", got.code)
	}
	if one[int](s, "select count(*) from modulo.audit") != 0 || one[bool](s, "select paused or workers <> 2 from modulo.jobs") {
		t.Error("something was changed")
	}
}

// TestOtherSites: a form of another site changes nothing, nor does one that is not ours.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run("jobs: {outbox: {workers: 1}}")
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://example.com"}} {
		if got := s.post("/jobs/outbox/pause", nil, headers...); got.code != http.StatusForbidden {
			t.Errorf("%q: %d", headers, got.code)
		}
	}
	if got := s.ask(http.MethodGet, "/", nil, "Host", "evil.example"); got.code != http.StatusOK { // the header is not the host
		t.Errorf("by its address: %d", got.code)
	}
	if one[bool](s, "select paused from modulo.jobs") {
		t.Error("paused by another site")
	}
	if got := s.ask(http.MethodGet, "/jobs/outbx/failed", nil); got.code != http.StatusNotFound {
		t.Errorf("a job that nobody knows: %d", got.code)
	}
	for path, want := range map[string]int{"/jobs/%00": http.StatusNotFound, "/jobs/outbox/failed?key=%00": http.StatusBadRequest, "/jobs/outbox/failed?text=%ff": http.StatusBadRequest} {
		if got := s.ask(http.MethodGet, path, nil); got.code != want {
			t.Errorf("%s: %d", path, got.code)
		}
	}
	if got := s.ask(http.MethodHead, "/", nil, "Accept", "text/event-stream"); got.code != http.StatusOK {
		t.Errorf("the head of a page: %d", got.code)
	}
	if got := s.post("/jobs/outbox/workers", url.Values{"to": {"4"}, "generation": {"0"}}); got.code != http.StatusBadRequest {
		t.Errorf("a change without the generation that was looked at: %d", got.code)
	}
	if got := s.post("/jobs/outbox/pause", nil, "Sec-Fetch-Site", "same-origin"); got.code != http.StatusSeeOther || !one[bool](s, "select paused from modulo.jobs") {
		t.Errorf("by our own: %d", got.code)
	}
}
