package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"modulo/internal/config"
	"modulo/internal/faultproxy"
	"modulo/internal/testservers"
)

var httpAddress = regexp.MustCompile(`"address":"([^"]+)","time":"[^"]*","message":"http listens`)

// address waits for the line that says where a service answers.
func (b *background) address() string {
	b.t.Helper()
	var found []string
	await(b.t, "http address", func() bool {
		found = httpAddress.FindStringSubmatch(b.err.String())
		return found != nil
	})
	return found[1]
}

// answerWithin is how soon any answer must come, whatever state database and broker are in, also on a machine that stops for
// some seconds now and then.
const answerWithin = 20 * time.Second

// get asks a service.
func (b *background) get(path string) (code int, body string) {
	b.t.Helper()
	client := http.Client{Timeout: answerWithin, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + b.address() + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// readiness returns the code and the checks that are not ok, as in "broker degraded".
func (b *background) readiness() (code int, not []string) {
	b.t.Helper()
	code, body := b.get("/readyz")
	var report struct {
		Status string
		Checks []struct{ Name, Status, Reason string }
	}
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		b.t.Fatalf("%v:\n%s", err, body)
	}
	for _, check := range report.Checks {
		if check.Status != "ok" {
			not = append(not, check.Name+" "+check.Status)
		}
	}
	return code, not
}

func (b *background) awaitReadiness(code int, not ...string) {
	b.t.Helper()
	var gotCode int
	var got []string
	defer func() {
		if b.t.Failed() {
			b.t.Logf("last answer: %d %v", gotCode, got)
		}
	}()
	await(b.t, fmt.Sprint("readiness ", code, " ", not), func() bool {
		gotCode, got = b.readiness()
		return gotCode == code && slices.Equal(got, not)
	})
}

// metrics returns the values by series, as in `modulo_workers{job="outbox"}`.
func (b *background) metrics() map[string]float64 {
	b.t.Helper()
	code, body := b.get("/metrics")
	if code != http.StatusOK {
		b.t.Fatalf("/metrics: %d", code)
	}
	values := map[string]float64{}
	for line := range strings.Lines(body) {
		series, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if value, err := strconv.ParseFloat(number, 64); err == nil {
			values[series] = value
		}
	}
	return values
}

func (b *background) awaitMetric(series string, want float64) {
	b.t.Helper()
	await(b.t, fmt.Sprint(series, " ", want), func() bool {
		value, exists := b.metrics()[series]
		return exists && value == want
	})
}

// promised are the metrics that others may rely on, with their labels.
const promised = `modulo_backlog_rows{job,worker} modulo_oldest_pending_age_seconds{job,worker} modulo_rows_sent_total{job}
modulo_rows_done_total{job} modulo_rows_failed_total{class,job} modulo_rows_repeated_total{cause,job} modulo_failed_rows{job}
modulo_batch_rows_count{job} modulo_fetch_seconds_count{job} modulo_publish_seconds_count{job} modulo_mark_seconds_count{job}
modulo_row_latency_seconds_count{job} modulo_workers{job} modulo_workers_owned{job} modulo_workers_unowned{job}
modulo_takeovers_total{job,reason} modulo_broker_up modulo_broker_reconnects_total modulo_database_up
modulo_build_info{goversion,version} modulo_last_progress_timestamp_seconds{job,worker} modulo_workers_next{job} modulo_job_paused{job}
go_goroutines process_resident_memory_bytes`

var labelValue = regexp.MustCompile(`="[^"]*"`)

// TestMetrics: after N rows the metrics say N.
func TestMetrics(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (destination, payload) select $1, n from generate_series(1, 100) as n", f.queue)
	f.exec("insert into modulo.outbox (destination, payload) values ('/topic/not.allowed', 'x')")
	running := f.start("run", "--workers", "3", "--http", "127.0.0.1:0", "--every", "20ms")
	const job = `{job="outbox"}`
	running.awaitMetric("modulo_failed_rows"+job, 1) // sampled after the drain
	got := running.metrics()
	for series, want := range map[string]float64{
		"modulo_rows_sent_total" + job: 100, "modulo_rows_done_total" + job: 100, "modulo_row_latency_seconds_count" + job: 100,
		"modulo_batch_rows_sum" + job: 101, "modulo_workers" + job: 3, "modulo_workers_owned" + job: 3, "modulo_workers_unowned" + job: 0,
		"modulo_workers_next" + job: 0, "modulo_job_paused" + job: 0, "modulo_backlog_capped" + job: 0,
		`modulo_rows_failed_total{class="not_allowed",job="outbox"}`: 1, `modulo_rows_failed_total{class="refused",job="outbox"}`: 0,
		`modulo_rows_repeated_total{cause="connection",job="outbox"}`: 0, `modulo_takeovers_total{job="outbox",reason="new"}`: 3,
		`modulo_backlog_rows{job="outbox",worker="2"}`: 0, "modulo_broker_up": 1, "modulo_database_up": 1,
		"modulo_broker_reconnects_total": 0, "modulo_instances_expired_total": 0,
	} {
		if value, exists := got[series]; !exists || value != want {
			t.Errorf("%s is %v (%v), want %v", series, value, exists, want)
		}
	}
	if latency := got["modulo_row_latency_seconds_sum"+job] / 100; latency <= 0 || latency > 30 {
		t.Errorf("a row took %v seconds", latency)
	}
	var names []string
	for series := range got {
		names = append(names, labelValue.ReplaceAllString(series, ""))
	}
	for _, name := range strings.Fields(promised) {
		if !slices.Contains(names, name) {
			t.Errorf("no %s", name)
		}
	}
	_, text := running.get("/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	f.ok("pause", "outbox")
	running.awaitMetric("modulo_job_paused"+job, 1)
	f.exec("insert into modulo.outbox (destination, payload, created_at) values ($1, 'x', now() - interval '1 hour')", f.queue)
	await(t, "backlog", func() bool {
		got, total, oldest := running.metrics(), 0.0, 0.0
		for w := range 3 {
			total += got[fmt.Sprintf(`modulo_backlog_rows{job="outbox",worker="%d"}`, w)]
			oldest = max(oldest, got[fmt.Sprintf(`modulo_oldest_pending_age_seconds{job="outbox",worker="%d"}`, w)])
		}
		return total == 1 && oldest >= 3600
	})
	f.ok("workers", "set", "outbox", "2", "--wait")
	running.awaitMetric("modulo_workers"+job, 2)
}

// TestInfiniteCreatedAt: a created_at that is not a time is a row like others.
func TestInfiniteCreatedAt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (destination, payload, created_at)
		select $1, 'x', at::timestamptz from unnest(array['infinity', '-infinity', '294276-12-31', '4714-11-24 BC']) as at`, f.queue)
	running := f.start("run", "--workers", "1", "--http", "127.0.0.1:0", "--every", "20ms")
	f.drained()
	running.awaitMetric(`modulo_rows_done_total{job="outbox"}`, 4)
}

const quick = `
ownership: {lease: 5s, heartbeat: 1s, margin: 1s, tick: 200ms}
database: {statement_timeout: 3s}
broker: {receipt_timeout: 3s}
`

// TestOutages: without the broker the service is ready, but degraded; without the database it is not ready, but alive,
// and answers at once, also where the database is silent.
func TestOutages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mq, brokerURL := testservers.Through(t, f.mq.URL())
	pg, databaseURL := testservers.Through(t, f.env["DATABASE_URL"])
	patient := strings.Replace(quick, "statement_timeout: 3s", "statement_timeout: 1m", 1) // more than answerWithin: no answer waits for it
	running := f.start("run", "--config", write(t, "modulo.yaml", patient), "--workers", "2", "--every", "50ms",
		"--http", "127.0.0.1:0", "--broker-url", brokerURL, "--database-url", databaseURL)
	running.awaitReadiness(http.StatusOK)
	running.awaitMetric("modulo_broker_up", 1)

	mq.Set(faultproxy.Faults{Refuse: true})
	mq.CutAll(faultproxy.RST)
	running.awaitReadiness(http.StatusOK, "broker degraded")
	running.awaitMetric("modulo_broker_up", 0)
	mq.Set(faultproxy.Faults{})
	running.awaitReadiness(http.StatusOK)
	running.awaitMetric("modulo_broker_up", 1)
	await(t, "reconnections of both workers", func() bool { return running.metrics()["modulo_broker_reconnects_total"] >= 2 })

	for name, faults := range map[string]faultproxy.Faults{"silent": faultproxy.Silent(), "gone": {Refuse: true}} {
		pg.Set(faults)
		if faults.Refuse {
			pg.CutAll(faultproxy.RST)
		}
		running.awaitReadiness(http.StatusServiceUnavailable, "database failing")
		if code, body := running.get("/livez"); code != http.StatusOK {
			t.Errorf("database %s: not alive: %s", name, body)
		}
		running.awaitMetric("modulo_database_up", 0)
		running.awaitMetric(`modulo_workers_owned{job="outbox"}`, 0) // the lease is over
		pg.CutAll(faultproxy.RST)
		pg.Set(faultproxy.Faults{})
		running.awaitReadiness(http.StatusOK)
		running.awaitMetric("modulo_database_up", 1)
		running.awaitMetric(`modulo_workers_owned{job="outbox"}`, 2)
	}
}

// TestStalledWorker: a worker that owns rows and gets nowhere, with a database that answers and a broker, is not ready.
func TestStalledWorker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	running := f.start("run", "--config", write(t, "modulo.yaml", quick), "--workers", "2", "--every", "50ms", "--http", "127.0.0.1:0")
	running.awaitReadiness(http.StatusOK)
	f.exec("begin; lock table modulo.outbox in access exclusive mode")
	running.awaitReadiness(http.StatusServiceUnavailable, "workers failing")
	await(t, "both workers are named", func() bool {
		_, body := running.get("/readyz")
		return strings.Contains(body, "outbox/0, outbox/1")
	})
	f.exec("rollback")
	running.awaitReadiness(http.StatusOK)
}

// TestReadinessAtTheEnds: not ready before the jobs are checked, nor after a stop was asked for; alive all the time.
func TestReadinessAtTheEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (destination, payload) values ($1, 'x')", f.queue)
	pg, databaseURL := testservers.Through(t, f.env["DATABASE_URL"])
	pg.Set(faultproxy.Faults{Refuse: true})
	silentURL, busy := silentBroker(t)
	mq, brokerURL := testservers.Through(t, silentURL)
	running := f.start("run", "--workers", "1", "--http", "127.0.0.1:0", "--shutdown-timeout", "1h",
		"--database-url", databaseURL, "--broker-url", brokerURL)
	running.awaitLog("waiting for the database")
	running.awaitReadiness(http.StatusServiceUnavailable, "service failing", "database failing", "schema failing")
	if code, body := running.get("/livez"); code != http.StatusOK {
		t.Errorf("not alive: %s", body)
	}
	pg.Set(faultproxy.Faults{})
	<-busy
	running.awaitReadiness(http.StatusOK)
	running.stop(signalled{})
	running.awaitReadiness(http.StatusServiceUnavailable, "service failing")
	if code, body := running.get("/livez"); code != http.StatusOK {
		t.Errorf("not alive: %s", body)
	}
	running.get("/metrics")
	mq.CutAll(faultproxy.RST) // nothing is in flight any more
	if code := running.end(); code != 0 {
		t.Errorf("exit code %d\n%s", code, running.err.String())
	}
}

// TestHTTPAddress: a chosen address that is taken is an error; the default gives way to any other port.
func TestHTTPAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	f.refuses(exitRuntime, []string{"address already in use", "--http"}, "run", "--http", taken.Addr().String())
	f.env["MODULO_HTTP"] = taken.Addr().String()
	f.refuses(exitRuntime, []string{"address already in use"}, "run")
	delete(f.env, "MODULO_HTTP")
	f.refuses(exitRuntime, []string{"address already in use"}, "run", "--config",
		write(t, "modulo.yaml", fmt.Sprintf("http: {listen: %q}", taken.Addr())))
	f.refuses(exitUsage, []string{"http"}, "run", "--http", "192.0.2.1:8080") // no address of this machine

	var running *background
	await(t, "a service that finds the default port taken", func() bool {
		if other, err := net.Listen("tcp", config.DefaultListen); err == nil {
			t.Cleanup(func() { _ = other.Close() })
		} // else somebody else has it, who may leave it just before the service comes: then it is ours the next time
		running = f.start("run")
		running.address()
		taken := strings.Contains(running.err.String(), "the default port is taken")
		if !taken {
			running.end()
		}
		return taken
	})
	running.awaitReadiness(http.StatusOK)
	if code, page := running.get("/"); code != http.StatusOK || !strings.Contains(page, "<h1") {
		t.Errorf("/ is %d: %s", code, page)
	}
	running.end()

	for _, off := range [][]string{{"--http", "off"}, {"--http="}, {"--config", write(t, "modulo.yaml", "http: {listen: off}")}} {
		silent := f.start(append([]string{"run"}, off...)...)
		silent.awaitLog("service starts")
		silent.end()
		if strings.Contains(silent.err.String(), "http listens") {
			t.Errorf("%v: listens all the same", off)
		}
	}
}

// TestMetricsOfTwo: what instances own adds up, and workers that nobody takes are seen by all.
func TestMetricsOfTwo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	settings := write(t, "modulo.yaml", "ownership: {tick: 200ms}\n")
	start := func(args ...string) *background {
		return f.start(append([]string{"run", "--config", settings, "--workers", "3", "--http", "127.0.0.1:0"}, args...)...)
	}
	const owned, unowned = `modulo_workers_owned{job="outbox"}`, `modulo_workers_unowned{job="outbox"}`
	few := start("--max-workers", "1")
	few.awaitMetric(owned, 1)
	few.awaitMetric(unowned, 2)
	more := start()
	more.awaitMetric(owned, 2)
	more.awaitMetric(unowned, 0)
	few.awaitMetric(unowned, 0)
	few.end()
	more.awaitMetric(owned, 3)
	got := more.metrics()
	if taken := got[`modulo_takeovers_total{job="outbox",reason="new"}`]; taken != 2 {
		t.Errorf("%v workers were nobody's before, want 2", taken)
	}
	released, unfinished := `modulo_takeovers_total{job="outbox",reason="released"}`, `modulo_takeovers_total{job="outbox",reason="unfinished"}`
	if got[released]+got[unfinished] != 1 {
		t.Errorf("released %v, unfinished %v, want one of both", got[released], got[unfinished])
	}
	if _, exists := got[`modulo_last_progress_timestamp_seconds{job="outbox",worker="2"}`]; !exists {
		t.Error("no progress of a worker that it owns")
	}
}
