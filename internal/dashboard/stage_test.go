package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/browser"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// patience is how long a test waits for what has to come. It is long because pages show an answer that took long for twenty
// times as long: on a busy machine for half a minute, at most for 100 seconds.
const patience = 2 * time.Minute

// stage is the program between real servers, and a database connection beside it.
type stage struct {
	t       testing.TB
	ctx     context.Context
	url     string // of the database
	db      *pgx.Conn
	broker  string // its URL
	queue   string // "/queue/..." with a name of the test's own
	program *programtest.Process
	site    string        // where the program answers
	limit   time.Duration // of what is awaited
}

// settings are for a quick reaction, and a lease that is not lost however busy the machine: nobody dies here.
const settings = `
ownership: {lease: 2m, heartbeat: 10s, margin: 12s, tick: 100ms}
`

func newStage(t testing.TB) *stage {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*patience, fmt.Errorf("%s took too long", t.Name()))
	t.Cleanup(cancel)
	s := &stage{t: t, limit: patience, ctx: ctx, url: testservers.Database(t), broker: testservers.Broker(t).URL()}
	s.queue = "/queue/dashboard." + strings.ReplaceAll(t.Name(), "/", ".")
	s.db = testservers.Connect(t, s.url)
	return s
}

// run starts the program with a configuration beyond settings, and waits until it answers.
func (s *stage) run(config string, args ...string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "modulo.yaml")
	if err := os.WriteFile(file, []byte(settings+config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	args = append([]string{"run", "--config", file, "--database-url", s.url, "--broker-url", s.broker, "--http", "127.0.0.1:0"}, args...)
	var err error
	if s.program, err = programtest.Start(args...); err != nil {
		s.t.Fatal(err)
	}
	s.program.EndWith(s.t)
	s.site = "http://" + s.program.Address(s.t, s.limit)
	s.await("a start", func() bool { return s.program.Log.Has("service starts") })
	s.await("owners", func() bool {
		return one[bool](s, "select coalesce(bool_and(owner is not null), false) from modulo.workers")
	})
	s.await("pages that know", func() bool { return !strings.Contains(s.ask(http.MethodGet, "/", nil).text, "has never run") })
}

func (s *stage) await(what string, holds func() bool) {
	s.t.Helper()
	programtest.Within(s.t, s.limit, what, func() (bool, error) { return holds(), nil })
}

// exec runs a statement beside the program.
func (s *stage) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.db.Exec(s.ctx, sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// one returns the one value of a query.
func one[T any](s *stage, sql string, args ...any) (value T) {
	s.t.Helper()
	if err := s.db.QueryRow(s.ctx, sql, args...).Scan(&value); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// insert adds events to modulo.outbox.
func (s *stage) insert(n int) {
	s.t.Helper()
	s.exec("insert into modulo.outbox (destination, key, payload) select $1, 'key ' || n % 10, n from generate_series(1, $2::int) as n", s.queue, n)
}

// drained waits until no row is pending but those that failed.
func (s *stage) drained() {
	s.t.Helper()
	s.await("all rows delivered", func() bool {
		return one[int](s, `select count(*) from modulo.outbox as o
			where done_at is null and not exists (select from modulo.failures where job = 'outbox' and row_id = o.id)`) == 0
	})
}

// tab is a page of the browser whose errors are the test's.
type tab struct {
	s    *stage
	page *browser.Page
}

func (s *stage) open(path string, look browser.Look) *tab {
	s.t.Helper()
	chromium, err := startChromium()
	if err != nil {
		s.t.Fatal(err)
	}
	page, err := chromium.Open(s.ctx, look)
	if err != nil {
		s.t.Fatal(err)
	}
	t := &tab{s, page}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			t.keep()
		}
		_ = page.Close(context.Background())
	})
	t.visit(path)
	return t
}

// keep writes what the page shows to where MODULO_SHOTS says, for who looks into a failure.
func (t *tab) keep() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var text string
	_ = t.page.Eval(ctx, `location.href + "\n" + document.body.innerText`, &text)
	t.s.t.Logf("the page:\n%s", text)
	if dir := os.Getenv("MODULO_SHOTS"); dir != "" {
		if shot, err := t.page.Screenshot(ctx, true); err == nil {
			_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.s.t.Name(), "/", "_")+".png"), shot, 0o644)
		}
	}
}

func (t *tab) must(err error) {
	t.s.t.Helper()
	if err != nil {
		t.s.t.Fatal(err)
	}
}

func (t *tab) visit(path string) { t.s.t.Helper(); t.must(t.page.Go(t.s.ctx, t.s.site+path)) }

func (t *tab) click(selector string) { t.s.t.Helper(); t.awaits(browser.Clicked(selector)) }

// awaits waits until an expression is true in the page, and nothing in it is about to be replaced: htmx does not listen on what
// it has just put there.
func (t *tab) awaits(expression string) {
	t.s.t.Helper()
	ctx, cancel := context.WithTimeout(t.s.ctx, t.s.limit)
	defer cancel()
	t.must(t.page.Await(ctx, `!document.querySelector(".htmx-swapping, .htmx-settling, .htmx-added") && (`+expression+")"))
}

// reloads loads a page until an expression is true in it, as people without scripts do.
func (t *tab) reloads(path, expression string) {
	t.s.t.Helper()
	t.s.await(expression, func() (holds bool) {
		t.visit(path)
		t.eval(expression, &holds)
		return holds
	})
}

// shows waits until the page shows a text.
func (t *tab) shows(text string) {
	t.s.t.Helper()
	t.awaits(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// fill types into a field, instead of what is there.
func (t *tab) fill(selector, text string) {
	t.s.t.Helper()
	t.click(selector)
	t.must(t.page.Eval(t.s.ctx, fmt.Sprintf("document.querySelector(%q).select()", selector), nil))
	t.must(t.page.Type(t.s.ctx, text))
}

func (t *tab) press(keys ...string) {
	t.s.t.Helper()
	for _, key := range keys {
		t.must(t.page.Press(t.s.ctx, key))
	}
}

func (t *tab) eval(expression string, result any) {
	t.s.t.Helper()
	t.must(t.page.Eval(t.s.ctx, expression, result))
}

// silent sees to it that the page had nothing to complain about: no error of a script, nothing refused.
func (t *tab) silent() {
	t.s.t.Helper()
	for _, complaint := range t.page.Complaints() {
		t.s.t.Errorf("%s", complaint)
	}
}
