package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"modulo/jobs"
	"modulo/store"
)

const patience = time.Minute

// newMonitor monitors a job at intervals, orders, and one by cron, nightly. It runs, and owns orders/0 and nightly/0 of 2.
func newMonitor() *Monitor {
	m := New(Config{
		Jobs: []*jobs.Job{
			{Name: "orders", Workers: 2, Schedule: jobs.Schedule{Every: time.Second}},
			{Name: "nightly", Workers: 2, Schedule: jobs.Schedule{Cron: "0 3 * * *"}},
		},
		Version: "test", Lease: 15 * time.Second, Patience: patience, Log: zerolog.Nop(),
	})
	m.Runs()
	m.Asked(nil)
	m.Ticked(tick(jobs.TakeoverNew))
	return m
}

// tick is one in which the first worker of each job is owned.
func tick(takeover jobs.Takeover) jobs.Tick {
	owned := []jobs.Owned{{Shard: jobs.Shard{Number: 0, Of: 2, Epoch: 1}, Takeover: takeover}}
	return jobs.Tick{Jobs: []jobs.JobState{
		{Job: "orders", Workers: 2, Owned: owned, Unowned: 1},
		{Job: "nightly", Workers: 2, Owned: owned},
	}}
}

var (
	orders  = jobs.WorkerID{Job: "orders", Number: 0}
	nightly = jobs.WorkerID{Job: "nightly", Number: 0}
)

// value is that of one series, as in `modulo_workers{job="orders"}`.
func (m *Monitor) value(t *testing.T, series string) (string, bool) {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Metrics().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(recorder.Body.String()) {
		if value, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), series+" "); found {
			return value, true
		}
	}
	return "", false
}

func wantValues(t *testing.T, m *Monitor, want map[string]string) {
	t.Helper()
	for series, value := range want {
		if got, _ := m.value(t, series); got != value {
			t.Errorf("%s is %q, want %q", series, got, value)
		}
	}
}

// wantReady expects the checks of readiness, by name, that are not ok.
func wantReady(t *testing.T, m *Monitor, code int, want ...string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Readyz(recorder, nil)
	var r report
	if err := json.Unmarshal(recorder.Body.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range r.Checks {
		if c.Status != ok {
			got = append(got, c.Name+" "+string(c.Status))
		}
	}
	if recorder.Code != code || !slices.Equal(got, want) {
		t.Errorf("%d %v, want %d %v\n%s", recorder.Code, got, code, want, recorder.Body)
	}
}

// TestNames: every metric that docs/metrics.md lists exists from the start, and the other way round.
func TestNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `(modulo_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		documented[found[1]] = true
	}
	m := newMonitor()
	m.jobs["orders"].sample = sample{time.Now(), store.Backlog{Aged: true, Workers: make([]store.WorkerBacklog, 2)}}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]bool{}
	for _, family := range families {
		name := family.GetName()
		exported[name] = true
		if strings.HasPrefix(name, "modulo_") && !documented[name] {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
	for name := range documented {
		if !exported[name] {
			t.Errorf("%s is documented but does not exist", name)
		}
	}
	if len(documented) < 20 {
		t.Errorf("docs/metrics.md lists only %d metrics", len(documented))
	}
}

// TestLint: the names follow the rules of Prometheus.
func TestLint(t *testing.T) {
	t.Parallel()
	m := newMonitor()
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	m := newMonitor()
	wantValues(t, m, map[string]string{ // before anything happened
		`modulo_rows_failed_total{class="refused",job="nightly"}`:                 "0",
		`modulo_rows_repeated_total{cause="connection",job="nightly"}`:            "0",
		`modulo_takeovers_total{job="orders",reason="unfinished"}`:                "0",
		`modulo_takeovers_total{job="orders",reason="new"}`:                       "1",
		`modulo_row_latency_seconds_count{job="nightly"}`:                         "0",
		`modulo_workers{job="orders"}`:                                            "2",
		`modulo_workers_owned{job="orders"}`:                                      "1",
		`modulo_workers_unowned{job="orders"}`:                                    "1",
		`modulo_build_info{goversion="` + runtime.Version() + `",version="test"}`: "1",
	})
	m.Did(orders, jobs.StepFetch, 0, time.Millisecond, nil)
	m.Did(orders, jobs.StepFetch, 7, time.Millisecond, nil)
	m.Did(orders, jobs.StepFetch, 0, time.Hour, errors.New("no answer"))
	m.Did(orders, jobs.StepPublish, 7, time.Minute, &jobs.PublishError{Fault: jobs.FaultConnection})
	m.Did(orders, jobs.StepPublish, 7, time.Second, nil)
	m.Confirmed(orders, []jobs.Message{{InsertedAt: time.Now().Add(-time.Hour)}, {InsertedAt: time.Now().Add(time.Hour)}, {}})
	m.Did(orders, jobs.StepMark, 6, time.Second, nil)
	m.Repeated(orders, jobs.FaultConnection, 7)
	m.Failed(orders, jobs.ClassUnmarkable, 1)
	m.Ticked(jobs.Tick{Dead: []string{"a", "b"}, Jobs: tick("").Jobs})
	wantValues(t, m, map[string]string{
		`modulo_fetch_seconds_count{job="orders"}`:                    "2",
		`modulo_batch_rows_count{job="orders"}`:                       "1",
		`modulo_batch_rows_sum{job="orders"}`:                         "7",
		`modulo_rows_sent_total{job="orders"}`:                        "14",
		`modulo_publish_seconds_sum{job="orders"}`:                    "1",
		`modulo_rows_done_total{job="orders"}`:                        "6",
		`modulo_rows_repeated_total{cause="connection",job="orders"}`: "7",
		`modulo_rows_failed_total{class="unmarkable",job="orders"}`:   "1",
		`modulo_row_latency_seconds_count{job="orders"}`:              "2",
		`modulo_row_latency_seconds_bucket{job="orders",le="0.005"}`:  "1", // inserted in the future: at once
		`modulo_instances_expired_total`:                              "2",
		`modulo_takeovers_total{job="orders",reason="new"}`:           "1",
	})
	m.Left()
	wantValues(t, m, map[string]string{`modulo_workers_owned{job="orders"}`: "0", `modulo_workers{job="orders"}`: "2"})
	if _, exists := m.value(t, `modulo_last_progress_timestamp_seconds{job="orders",worker="0"}`); exists {
		t.Error("a worker that is not owned any more has progress")
	}
	m.Did(orders, jobs.StepMark, 1, 0, nil) // late, and of nobody's worker
}

// TestBroker: an outage degrades, and is over when something gets through.
func TestBroker(t *testing.T) {
	t.Parallel()
	m := newMonitor()
	const reconnects = "modulo_broker_reconnects_total"
	wantValues(t, m, map[string]string{"modulo_broker_up": "1", reconnects: "0"}) // nobody has tried
	m.Did(orders, jobs.StepConnect, 0, 0, nil)
	m.Did(orders, jobs.StepPublish, 1, 0, &jobs.PublishError{Fault: jobs.FaultMessage})
	m.Did(orders, jobs.StepConnect, 0, 0, nil)
	wantValues(t, m, map[string]string{"modulo_broker_up": "1", reconnects: "0"}) // a refused message is no outage
	m.Did(nightly, jobs.StepConnect, 0, 0, nil)
	m.Did(orders, jobs.StepPublish, 1, 0, &jobs.PublishError{Fault: jobs.FaultConnection})
	wantValues(t, m, map[string]string{"modulo_broker_up": "1"}) // the other one has it
	m.Did(nightly, jobs.StepConnect, 0, 0, &jobs.ConnectError{Fault: jobs.FaultConnection})
	wantReady(t, m, http.StatusOK, "broker degraded")
	wantValues(t, m, map[string]string{"modulo_broker_up": "0"})
	m.Did(orders, jobs.StepConnect, 0, 0, nil)
	wantValues(t, m, map[string]string{"modulo_broker_up": "0", reconnects: "1"}) // it takes connections, but messages?
	m.Did(orders, jobs.StepPublish, 1, 0, nil)
	wantValues(t, m, map[string]string{"modulo_broker_up": "1"})
	wantReady(t, m, http.StatusOK)
	m.Did(nightly, jobs.StepConnect, 0, 0, nil)
	wantValues(t, m, map[string]string{"modulo_broker_up": "1", reconnects: "2"})
	m.Did(orders, jobs.StepPublish, 1, 0, errors.New("panic"))
	m.Did(nightly, jobs.StepLeave, 0, 0, nil)
	wantValues(t, m, map[string]string{"modulo_broker_up": "0"})
	m.Did(orders, jobs.StepLeave, 0, 0, nil)
	wantValues(t, m, map[string]string{"modulo_broker_up": "1"})
}

func TestPhases(t *testing.T) {
	t.Parallel()
	m := New(Config{Lease: time.Second, Patience: patience})
	wantReady(t, m, http.StatusServiceUnavailable, "service failing", "database failing")
	m.Runs()
	m.Asked(nil)
	wantReady(t, m, http.StatusOK)
	m.Stops()
	wantReady(t, m, http.StatusServiceUnavailable, "service failing")
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor()
		m.Asked(errors.New("connection refused"))
		wantReady(t, m, http.StatusServiceUnavailable, "database failing")
		wantValues(t, m, map[string]string{"modulo_database_up": "0"})
		m.Asked(jobs.ErrFenced) // it answered
		wantReady(t, m, http.StatusOK)
		time.Sleep(m.Lease) // no call comes back
		wantReady(t, m, http.StatusServiceUnavailable, "database failing")
	})
}

func TestSchema(t *testing.T) {
	t.Parallel()
	m := newMonitor()
	for _, test := range []struct {
		err  error
		code int
		want []string
	}{
		{&store.SchemaError{State: store.SchemaOlder}, http.StatusServiceUnavailable, []string{"schema failing"}},
		{&store.SchemaError{State: store.SchemaMissing}, http.StatusServiceUnavailable, []string{"schema failing"}},
		{&store.SchemaError{State: store.SchemaNewer}, http.StatusOK, []string{"schema degraded"}}, // a rollout has begun
		{errors.New("no answer"), http.StatusOK, nil},                                              // the database is another check
		{nil, http.StatusOK, nil},
	} {
		m.sampleSchema(t.Context(), schemaOf{test.err})
		wantReady(t, m, test.code, test.want...)
	}
}

type schemaOf struct{ err error }

func (s schemaOf) CheckSchema(context.Context) error { return s.err }

// TestStalled: a worker that has something to do, and a broker, must get somewhere.
func TestStalled(t *testing.T) {
	t.Parallel()
	const late = patience + time.Second
	stalled := []string{"workers failing"}
	outage := errors.New("the table is locked")
	for _, test := range []struct {
		name string
		do   func(m *Monitor)
		want []string
	}{
		{"idle", func(*Monitor) { time.Sleep(late) }, nil},
		{"in a pass", func(m *Monitor) { m.Did(orders, jobs.StepBegin, 0, 0, nil); time.Sleep(late) }, stalled},
		{"in a pass after a long rest", func(m *Monitor) {
			time.Sleep(time.Hour)
			m.Asked(nil)
			m.Did(nightly, jobs.StepBegin, 0, 0, nil)
			time.Sleep(patience / 2)
		}, nil},
		{"pass after pass fails", func(m *Monitor) {
			for range 3 {
				m.Did(orders, jobs.StepBegin, 0, 0, nil)
				time.Sleep(late / 2)
				m.Passed(orders, jobs.Outcome{}, outage)
			}
		}, stalled},
		{"slow, but getting on", func(m *Monitor) {
			m.Did(orders, jobs.StepBegin, 0, 0, nil)
			time.Sleep(late / 2)
			m.Did(orders, jobs.StepPublish, 1, 0, nil)
			time.Sleep(late / 2)
			m.Did(orders, jobs.StepMark, 1, 0, nil)
			time.Sleep(late / 2)
		}, nil},
		{"without the broker", func(m *Monitor) {
			m.Did(orders, jobs.StepBegin, 0, 0, nil)
			m.Did(orders, jobs.StepConnect, 0, 0, &jobs.ConnectError{Fault: jobs.FaultConnection})
			m.Passed(orders, jobs.Outcome{}, outage)
			time.Sleep(late)
		}, []string{"broker degraded"}},
		{"just after an outage of the broker", func(m *Monitor) {
			m.Did(orders, jobs.StepBegin, 0, 0, nil)
			m.Did(orders, jobs.StepConnect, 0, 0, &jobs.ConnectError{Fault: jobs.FaultConnection})
			m.Passed(orders, jobs.Outcome{}, outage)
			time.Sleep(late)
			m.Did(orders, jobs.StepConnect, 0, 0, nil)
			time.Sleep(late / 2)
		}, nil},
		{"paused", func(m *Monitor) {
			m.Did(orders, jobs.StepBegin, 0, 0, nil)
			time.Sleep(late)
			paused := tick("")
			paused.Jobs[0].Paused = true
			m.Ticked(paused)
		}, nil},
		{"rows wait, and no pass begins", func(m *Monitor) {
			wait := store.Backlog{Workers: []store.WorkerBacklog{{Pending: 1}, {}}}
			m.jobs["orders"].sample.backlog = wait
			time.Sleep(late)
		}, stalled},
		{"rows wait for their night", func(m *Monitor) {
			m.jobs["nightly"].sample.backlog = store.Backlog{Workers: []store.WorkerBacklog{{Pending: 1}, {}}}
			time.Sleep(late)
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMonitor()
				test.do(m)
				m.Asked(nil)
				code := http.StatusOK
				if slices.Equal(test.want, stalled) {
					code = http.StatusServiceUnavailable
				}
				wantReady(t, m, code, test.want...)
			})
		})
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	alive := func(m *Monitor) bool {
		recorder := httptest.NewRecorder()
		m.Livez(recorder, nil)
		return recorder.Code == http.StatusOK
	}
	synctest.Test(t, func(t *testing.T) {
		m := New(Config{Patience: patience})
		time.Sleep(time.Hour)
		if !alive(m) {
			t.Error("not alive while it starts, which ends by itself")
		}
		m.Runs()
		for range 100 {
			time.Sleep(minSilence / 2)
			m.Asked(errors.New("no database"))
			if !alive(m) {
				t.Fatal("not alive while it waits for the database")
			}
		}
		time.Sleep(minSilence + time.Second)
		if alive(m) {
			t.Error("alive, but nothing has moved")
		}
	})
}

// tableOf counts as it is told.
type tableOf func(workers, limit int) (store.Backlog, error)

func (t tableOf) Backlog(ctx context.Context, workers, limit int) (store.Backlog, error) {
	return t(workers, limit)
}

// TestSample: slow counts are made less often, a failed one keeps the last values, and K is the one in force.
func TestSample(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor()
		var at []time.Duration
		began, took, failed := time.Now(), time.Duration(0), error(nil)
		table := tableOf(func(workers, limit int) (store.Backlog, error) {
			if limit != backlogLimit {
				t.Errorf("limit %d", limit)
			}
			at = append(at, time.Since(began))
			time.Sleep(took)
			b := store.Backlog{Workers: make([]store.WorkerBacklog, workers), Failed: 3}
			b.Workers[workers-1].Pending = workers
			return b, failed
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); m.Sample(ctx, schemaOf{}, map[string]Table{"orders": table}) }()
		synctest.Wait()
		took = time.Second
		time.Sleep(sampleInterval)                    // the second begins, and takes a second
		time.Sleep(time.Second + sampleRest*took - 1) // and rests for fifty
		changed := tick("")
		changed.Jobs[0].Workers = 3
		m.Ticked(changed)
		took = 0
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		failed = errors.New("no answer")
		time.Sleep(sampleInterval)
		synctest.Wait()
		cancel()
		<-ended
		want := []time.Duration{0, sampleInterval, sampleInterval + 51*time.Second, 2*sampleInterval + 51*time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("counted at %v, want %v", at, want)
		}
		wantValues(t, m, map[string]string{
			`modulo_backlog_rows{job="orders",worker="2"}`: "3", `modulo_backlog_rows{job="orders",worker="1"}`: "0",
			`modulo_backlog_capped{job="orders"}`: "1", `modulo_failed_rows{job="orders"}`: "3",
		})
		if _, exists := m.value(t, `modulo_oldest_pending_age_seconds{job="orders",worker="2"}`); exists {
			t.Error("an age without a created_at")
		}
	})
}

// observations are what a worker tells of a batch of a thousand rows.
func observations(m *Monitor, messages []jobs.Message) {
	m.Did(orders, jobs.StepBegin, 0, 0, nil)
	m.Did(orders, jobs.StepConnect, 0, 0, nil)
	m.Did(orders, jobs.StepFetch, len(messages), time.Millisecond, nil)
	m.Did(orders, jobs.StepPublish, len(messages), time.Millisecond, nil)
	m.Confirmed(orders, messages)
	m.Did(orders, jobs.StepMark, len(messages), time.Millisecond, nil)
	m.Repeated(orders, jobs.FaultConnection, 1)
	m.Failed(orders, jobs.ClassRefused, 1)
	m.Passed(orders, jobs.Outcome{}, nil)
}

func batchOf(n int) []jobs.Message {
	messages := make([]jobs.Message, n)
	for i := range messages {
		messages[i].InsertedAt = time.Now()
	}
	return messages
}

func TestNoAllocations(t *testing.T) {
	m, messages := newMonitor(), batchOf(1000)
	if n := testing.AllocsPerRun(100, func() { observations(m, messages) }); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

// BenchmarkObserver: an operation is a batch of 1,000 rows.
func BenchmarkObserver(b *testing.B) {
	m, messages := newMonitor(), batchOf(1000)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			observations(m, messages)
		}
	})
}

// BenchmarkScrape: 2 jobs of 64 workers.
func BenchmarkScrape(b *testing.B) {
	m := newMonitor()
	for _, name := range []string{"orders", "nightly"} {
		m.jobs[name].sample = sample{time.Now(), store.Backlog{Aged: true, Workers: make([]store.WorkerBacklog, 64)}}
	}
	handler, request := m.Metrics(), httptest.NewRequest(http.MethodGet, "/metrics", nil)
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), request)
	}
}
