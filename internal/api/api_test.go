package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"modulo/internal/api"
	"modulo/internal/config"
	"modulo/internal/doctor"
	"modulo/internal/guard"
	"modulo/internal/operations"
	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

func TestMain(m *testing.M) { os.Exit(testservers.Main(m)) }

// fixture is an API on a database of a test's own, behind a guard.
type fixture struct {
	t      *testing.T
	conn   *pgx.Conn
	server *httptest.Server
	doc    *document
	seen   map[string]bool // "GET /jobs/{job} 200"
}

func outbox() *jobs.Job {
	return &jobs.Job{
		Name: "outbox", Workers: 2, Batch: 1000, Schedule: jobs.Schedule{Cron: "0 3 * * *"},
		Source: jobs.Source{Table: "modulo.outbox", ID: "id", Where: "done_at is null", DoneSet: "done_at = now()"},
		Message: jobs.MessageSpec{
			Destination: "{destination}", EventID: "{event_id}", Payload: jobs.Payload{Column: "payload"},
			Allow: []string{jobs.DefaultDestinations}, Headers: []jobs.HeaderSpec{{Name: "type", Template: "{type}"}},
			HeadersColumn: "headers", MaxBody: 100,
		},
		Retry: jobs.RetryPolicy{MaxAttempts: 8},
	}
}

// newFixture has a job that was run, with an instance, five pending rows and three failed ones.
func newFixture(t *testing.T, cfg guard.Config) *fixture {
	t.Helper()
	db, conn := testservers.Store(t)
	f := &fixture{t: t, conn: conn, doc: readDocument(t), seen: map[string]bool{}}
	f.exec(`insert into modulo.jobs (job, workers) values ('outbox', 2);
		insert into modulo.instances (instance, host, pid, version, jobs, expires_at)
		  values ('00000000-0000-0000-0000-00000000000a', 'host', 1, 'test', '{outbox}', now() + interval '1 hour');
		insert into modulo.workers (job, generation, number, owner, epoch)
		  select 'outbox', 1, n, '00000000-0000-0000-0000-00000000000a', 8 + n from generate_series(0, 1) as n;
		insert into modulo.tokens (job, number, lineage, made, problem) values ('outbox', 1, 'x', true, 'gone');
		insert into modulo.progress (job, number, done, rate, progress_at, pass_at, problem) values ('outbox', 0, 7, 1.5, now(), now(), 'refused');
		insert into modulo.passes select 'outbox', n, 'here', now() - n * interval '1 second', now(), 1, 5, 3, 3, 0, 0,
		  (array['missed', 'complete', 'ended early'])[n + 2], case when n <> 0 then 'why' end from generate_series(-1, 1) as n;
		insert into modulo.outbox (payload, type) select repeat('x', 50 * n), 'T' from generate_series(1, 5) as n;
		insert into modulo.failures (job, row_id, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
		  select 'outbox', id, event_id, 8, now(), now(), 'too_large', 'payload: ' || length(payload) || ' bytes' from modulo.outbox where id > 2`)
	job := outbox()
	source, _, err := db.OpenSource(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	console := operations.New(operations.Config{
		DB: db, Jobs: []*jobs.Job{job}, Sources: map[string]*store.Source{"outbox": source},
		Settings: []config.Setting{{Key: "http.listen", Value: ":8080", Origin: config.OriginFlag}},
		Doctor: func(context.Context) doctor.Report {
			return doctor.Report{{Group: "broker", Name: "login", Status: doctor.Failure, Check: "nobody is there", Hint: "look"}}
		},
	})
	f.serve(cfg, func() *operations.Console { return console })
	var watching sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	watching.Go(func() { console.Watch(ctx) })
	t.Cleanup(func() { stop(); watching.Wait() })
	return f
}

func (f *fixture) serve(cfg guard.Config, console func() *operations.Console) {
	f.t.Helper()
	keeper, err := guard.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.server = httptest.NewServer(keeper.Wrap(api.New(console, zerolog.Nop())))
	f.t.Cleanup(f.server.Close)
}

func (f *fixture) exec(sql string) {
	f.t.Helper()
	if _, err := f.conn.Exec(f.t.Context(), sql); err != nil {
		f.t.Fatal(err)
	}
}

// ask sends a request and holds the answer against the description: path is as it stands there, values fill it in.
func (f *fixture) ask(want int, method, path, values, body string) map[string]any {
	f.t.Helper()
	address := path
	query := ""
	for part := range strings.FieldsSeq(values) {
		name, value, _ := strings.Cut(part, "=")
		if strings.Contains(address, "{"+name+"}") {
			address = strings.Replace(address, "{"+name+"}", value, 1)
		} else {
			query += "&" + part
		}
	}
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.server.URL+"/api/v1"+address+"?"+strings.TrimPrefix(query, "&"), strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if method != http.MethodGet {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := f.server.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if answer.StatusCode != want {
		f.t.Fatalf("%s %s %s: %d, want %d: %s", method, path, values, answer.StatusCode, want, text)
	}
	wantType := "application/json"
	if want >= 400 {
		wantType = "application/problem+json"
	}
	if got := answer.Header.Get("Content-Type"); got != wantType {
		f.t.Errorf("%s %s: %q, want %q", method, path, got, wantType)
	}
	var value map[string]any
	if err := json.Unmarshal(text, &value); err != nil {
		f.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	schema, err := f.doc.response(method, path, want)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, wrong := range f.doc.check("body", schema, value) {
		f.t.Errorf("%s %s %d: %s", method, path, want, wrong)
	}
	f.seen[fmt.Sprint(method, " ", path, " ", want)] = true
	return value
}

// Every route is described and the other way round, and answers as it is described.
func TestDescription(t *testing.T) {
	t.Parallel()
	f := newFixture(t, guard.Config{Loopback: true, Payloads: true})
	routes := api.New(nil, zerolog.Nop()).Routes()
	var described []string
	for path, operations := range f.doc.Paths {
		for method := range operations {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(routes)
	slices.Sort(described)
	if !slices.Equal(routes, described) {
		t.Errorf("routes:\n%q\ndescribed:\n%q", routes, described)
	}
	reads(f)
	changes(f)
	for _, route := range routes {
		if !f.seen[route+" 200"] && !f.seen[route+" 202"] {
			t.Errorf("%s was not tried", route)
		}
	}
}

func reads(f *fixture) {
	f.t.Helper()
	f.ask(200, "GET", "/overview", "", "")
	job := f.ask(200, "GET", "/jobs/{job}", "job=outbox", "")
	if job["backlog"] != 2.0 || job["failed"] != 3.0 || job["rows_per_second"] != 1.5 || job["state"] != "token trouble" || job["done"] != 7.0 {
		f.t.Errorf("job %v", job)
	}
	f.ask(404, "GET", "/jobs/{job}", "job=nonsense", "")
	for _, part := range []string{"/history", "/passes", "/passes/history", "/tokens", "/failures", "/failures/count", "/failures/groups"} {
		f.ask(404, "GET", "/jobs/{job}"+part, "job=nonsense", "")
	}
	f.ask(404, "GET", "/jobs/{job}", "job=%00", "")
	f.ask(404, "GET", "/jobs/{job}", "job=%ff", "")
	f.ask(200, "GET", "/jobs/{job}/history", "job=outbox", "")
	f.ask(200, "GET", "/jobs/{job}/passes", "job=outbox", "")
	past := f.ask(200, "GET", "/jobs/{job}/passes/history", "job=outbox limit=2", "")
	older := f.ask(200, "GET", "/jobs/{job}/passes/history", fmt.Sprintf("job=outbox limit=2 before=%v", past["next"]), "")
	if first := past["passes"].([]any)[0].(map[string]any); len(past["passes"].([]any)) != 2 || len(older["passes"].([]any)) != 1 || older["next"] != nil || first["worker"] != nil || first["result"] != "missed" {
		f.t.Errorf("past passes %v, older ones %v", past, older)
	}
	if trouble := f.ask(200, "GET", "/jobs/{job}/passes/history", "job=outbox worker=1 trouble=true", "")["passes"].([]any); len(trouble) != 1 {
		f.t.Errorf("trouble %v", trouble)
	}
	for _, wrong := range []string{"before=x", "before=2026-01-02T15:04:05Z_99999999999", "worker=-2", "worker=1024", "trouble=yes"} {
		f.ask(400, "GET", "/jobs/{job}/passes/history", "job=outbox "+wrong, "")
	}
	f.ask(200, "GET", "/jobs/{job}/tokens", "job=outbox", "")
	if p := f.ask(200, "GET", "/jobs/{job}/preview", "job=outbox workers=4", ""); fmt.Sprint(p["rows"]) != "[0 1 1 0]" {
		f.t.Errorf("preview %v", p)
	}
	f.ask(400, "GET", "/jobs/{job}/preview", "job=outbox", "")
	f.ask(400, "GET", "/jobs/{job}/preview", "job=outbox workers=1025", "")
	f.ask(200, "GET", "/jobs/{job}/change", "job=outbox", "")
	first := f.ask(200, "GET", "/jobs/{job}/failures", "job=outbox limit=2 class=too_large state=failed", "")
	second := f.ask(200, "GET", "/jobs/{job}/failures", fmt.Sprintf("job=outbox limit=2 after=%v", first["next"]), "")
	if len(first["rows"].([]any)) != 2 || len(second["rows"].([]any)) != 1 || second["next"] != nil {
		f.t.Errorf("pages %v, %v", first, second)
	}
	for _, wrong := range []string{"clas=x", "class=x", "state=x", "limit=0", "limit=1001", "after=x", "id=1,x", "since=yesterday", "key=a key=b", "id=", "key=", "key=%00", "key=%ff", "key=%zz"} {
		f.ask(400, "GET", "/jobs/{job}/failures", "job=outbox "+wrong, "")
	}
	groups := f.ask(200, "GET", "/jobs/{job}/failures/groups", "job=outbox", "")["groups"].([]any)
	if len(groups) != 1 || groups[0].(map[string]any)["pattern"] != "payload: # bytes" {
		f.t.Errorf("groups %v", groups)
	}
	if n := f.ask(200, "GET", "/jobs/{job}/failures/count", "job=outbox pattern=payload:%20%23%20bytes", ""); n["count"] != 3.0 {
		f.t.Errorf("count %v", n)
	}
	failed := f.ask(200, "GET", "/jobs/{job}/rows/{row}", "job=outbox row=3 payload=true", "")
	if failed["invalid"] != "payload: 150 bytes, the limit is 100" || failed["message"] != nil {
		f.t.Errorf("row %v", failed)
	}
	pending := f.ask(200, "GET", "/jobs/{job}/rows/{row}", "job=outbox row=1 payload=true", "")["message"].(map[string]any)
	if pending["body"] != strings.Repeat("x", 50) || pending["destination"] != "/queue/modulo.events" {
		f.t.Errorf("message %v", pending)
	}
	for _, h := range pending["headers"].([]any) {
		if header := h.(map[string]any); header["name"] == "type" && header["value"] != "T" {
			f.t.Errorf("header %v", header)
		}
	}
	hidden := f.ask(200, "GET", "/jobs/{job}/rows/{row}", "job=outbox row=1", "")["message"].(map[string]any)
	if hidden["body"] != nil || hidden["bytes"] != 50.0 {
		f.t.Errorf("without payload %v", hidden)
	}
	for _, h := range hidden["headers"].([]any) {
		header := h.(map[string]any)
		name := header["name"].(string)
		if known := name == "event_id" || name == "job" || name == "row_id"; known != (header["value"] != nil) {
			f.t.Errorf("without payload header %v", header)
		}
	}
	f.ask(404, "GET", "/jobs/{job}/rows/{row}", "job=outbox row=99", "")
	f.ask(200, "GET", "/instances", "", "")
	f.ask(200, "GET", "/settings", "", "")
	f.ask(404, "GET", "/audit/{entry}", "entry=99", "")
	if last := f.ask(200, "GET", "/doctor", "", ""); last["at"] != nil || len(last["findings"].([]any)) != 0 {
		f.t.Errorf("checks before anybody asked: %v", last)
	}
}

func changes(f *fixture) {
	f.t.Helper()
	for _, verb := range []string{"pause", "resume", "trigger"} {
		f.ask(200, "POST", "/jobs/{job}/"+verb, "job=outbox", `{"reason": "test"}`)
		f.ask(404, "POST", "/jobs/{job}/"+verb, "job=nonsense", `{}`)
	}
	f.ask(409, "POST", "/jobs/{job}/workers", "job=outbox", `{"workers": 4, "if_generation": 7}`)
	f.ask(400, "POST", "/jobs/{job}/workers", "job=outbox", `{"workers": 0}`)
	f.ask(400, "POST", "/jobs/{job}/workers", "job=outbox", `{"workers": 4, "if_generation": 0}`)
	f.ask(400, "POST", "/jobs/{job}/workers", "job=outbox", `{"wrokers": 4}`)
	f.ask(202, "POST", "/jobs/{job}/workers", "job=outbox", `{"workers": 4, "if_generation": 1}`)
	f.ask(409, "POST", "/jobs/{job}/workers", "job=outbox", `{"workers": 5}`)
	f.ask(409, "POST", "/jobs/{job}/abort-change", "job=outbox", `{"if_changing_to": 5, "if_generation": 1}`)
	f.ask(409, "POST", "/jobs/{job}/abort-change", "job=outbox", `{"if_generation": 2}`)
	f.ask(200, "POST", "/jobs/{job}/abort-change", "job=outbox", `{"if_changing_to": 4, "if_generation": 1}`)
	f.ask(409, "POST", "/jobs/{job}/abort-change", "job=outbox", `{}`)
	if n := f.ask(200, "POST", "/jobs/{job}/reset-tokens", "job=outbox", `{"worker": 1}`); n["reset"] != 1.0 {
		f.t.Errorf("reset %v", n)
	}
	f.ask(404, "POST", "/jobs/{job}/failures/retry", "job=nonsense", `{}`)
	f.ask(409, "POST", "/jobs/{job}/failures/retry", "job=outbox", `{"expect_count": 4}`)
	f.ask(400, "POST", "/jobs/{job}/failures/retry", "job=outbox", `{"class": "x"}`)
	f.ask(400, "POST", "/jobs/{job}/failures/retry", "job=outbox", `{"ids": []}`)
	f.ask(400, "POST", "/jobs/{job}/failures/retry", "job=outbox", `{"ids": [3], "reason": "\u0000"}`)
	f.ask(413, "POST", "/jobs/{job}/failures/retry", "job=outbox", `{"reason": "`+strings.Repeat("x", 70_000)+`"}`)
	f.exec(`insert into modulo.audit (who, action, job, result) values ('bob', 'retry rows', 'outbox', 'under way')`)
	if p := f.ask(409, "POST", "/jobs/{job}/failures/discard", "job=outbox", `{}`); !strings.HasPrefix(p["detail"].(string), `bob does "retry rows" of job outbox`) {
		f.t.Errorf("beside bob's repair: %v", p)
	}
	f.exec(`delete from modulo.audit where who = 'bob'`)
	retried := f.ask(200, "POST", "/jobs/{job}/failures/retry", "job=outbox", `{"expect_count": 1, "ids": [3], "reason": "put right"}`)
	if retried["done"] != 1.0 || retried["result"] != "done" {
		f.t.Errorf("retried %v", retried)
	}
	f.ask(200, "POST", "/jobs/{job}/failures/discard", "job=outbox", `{"state": "failed", "expect_count": 2}`)
	entry := f.ask(200, "GET", "/audit/{entry}", fmt.Sprintf("entry=%v", retried["audit_id"]), "")
	if entry["target"] != "row 3" || entry["reason"] != "put right" || !strings.HasPrefix(entry["who"].(string), "anonymous from 127.0.0.1") {
		f.t.Errorf("entry %v", entry)
	}
	if r := f.ask(200, "GET", "/jobs/{job}/rows/{row}", "job=outbox row=3", ""); len(r["history"].([]any)) != 1 || len(r["perhaps"].([]any)) != 1 {
		f.t.Errorf("history %v, perhaps %v", r["history"], r["perhaps"])
	}
	f.ask(400, "POST", "/doctor", "", `{"canary": false}`)
	made := f.ask(200, "POST", "/doctor", "", `{}`)
	if last := f.ask(200, "GET", "/doctor", "", ""); made["at"] == nil || len(made["findings"].([]any)) != 1 || fmt.Sprint(last) != fmt.Sprint(made) {
		f.t.Errorf("checks %v, the last ones %v", made, last)
	}
	page := f.ask(200, "GET", "/audit", "job=outbox limit=2", "")
	if len(page["entries"].([]any)) != 2 || page["next"] == nil {
		f.t.Errorf("audit %v", page)
	}
}

// What is not there, or not in time, is a problem too, and tells nothing of the inside.
func TestProblems(t *testing.T) {
	t.Parallel()
	f := newFixture(t, guard.Config{Loopback: true})
	f.ask(403, "GET", "/jobs/{job}/rows/{row}", "job=outbox row=1 payload=true", "")
	for address, want := range map[string]int{"GET /nonsense": 404, "DELETE /overview": 405, "POST /jobs/outbox/pause": 415} {
		method, path, _ := strings.Cut(address, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, f.server.URL+"/api/v1"+path, strings.NewReader("reason=x"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := f.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var problem guard.Problem
		if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil || answer.StatusCode != want || problem.Status != want {
			t.Errorf("%s: %d %+v, %v", address, answer.StatusCode, problem, err)
		}
		_ = answer.Body.Close()
	}
	f.exec("alter table modulo.failures rename to elsewhere")
	if p := f.ask(500, "GET", "/jobs/{job}/failures", "job=outbox", ""); p["detail"] != "see the log of the instance" {
		t.Errorf("problem %v", p)
	}
	f.serve(guard.Config{Loopback: true}, func() *operations.Console { return nil })
	f.ask(503, "GET", "/overview", "", "")
}
