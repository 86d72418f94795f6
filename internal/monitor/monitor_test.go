package monitor

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
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
		Traces: func() (sent, dropped uint64) { return 7, 4 },
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

// fullMonitor is one that has something to tell in every series.
func fullMonitor() *Monitor {
	m := newMonitor()
	m.Listens(true)
	m.Passed(orders, jobs.Outcome{}, nil)
	m.jobs["orders"].sample = sample{time.Now(), store.Backlog{Aged: true, Workers: make([]store.WorkerBacklog, 2)}}
	return m
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
	families, err := fullMonitor().registry.Gather()
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
	for range 7 {
		m.Repeated(orders, jobs.FaultConnection)
	}
	m.Failed(orders, jobs.ClassUnmarkable)
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

// observations are what a worker tells of a batch of a thousand rows.
func observations(m *Monitor, messages []jobs.Message) {
	m.Did(orders, jobs.StepBegin, 0, 0, nil)
	m.Did(orders, jobs.StepConnect, 0, 0, nil)
	m.Did(orders, jobs.StepFetch, len(messages), time.Millisecond, nil)
	m.Did(orders, jobs.StepPublish, len(messages), time.Millisecond, nil)
	m.Confirmed(orders, messages)
	m.Did(orders, jobs.StepMark, len(messages), time.Millisecond, nil)
	m.Repeated(orders, jobs.FaultConnection)
	m.Failed(orders, jobs.ClassRefused)
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
