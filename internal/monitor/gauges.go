package monitor

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges reads the state of a monitor at each scrape, so that workers and jobs that are gone leave no series behind.
type gauges struct{ *Monitor }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	backlogRows    = describe("modulo_backlog_rows", "Pending rows of a worker, as sampled; see modulo_backlog_capped.", "job", "worker")
	oldestPending  = describe("modulo_oldest_pending_age_seconds", "Time since the created_at of a worker's oldest pending row, as sampled; 0 without one.", "job", "worker")
	backlogCapped  = describe("modulo_backlog_capped", "1 if counting stopped at the limit: there are at least as many pending rows.", "job")
	backlogSampled = describe("modulo_backlog_sampled_timestamp_seconds", "When pending and failed rows were last counted.", "job")
	failedRows     = describe("modulo_failed_rows", "Rows whose attempts are used up: they wait for a person.", "job")
	retryingRows   = describe("modulo_retrying_rows", "Failed rows that are tried again by themselves.", "job")
	lastProgress   = describe("modulo_last_progress_timestamp_seconds", "When an owned worker last got a receipt, marked rows or ended a pass well.", "job", "worker")
	lastPass       = describe("modulo_last_pass_timestamp_seconds", "When an owned worker last ended a pass well; none before the first.", "job", "worker")
	listening      = describe("modulo_listening", "1 if inserts begin passes, 0 if only the clock does; none where no job listens.")
	traceSpans     = describe("modulo_trace_spans_total", "Spans by what became of them, sent to the collector or dropped; none where traces are off.", "result")
	workersInForce = describe("modulo_workers", "Number of workers in force.", "job")
	workersNext    = describe("modulo_workers_next", "Number of workers that is being changed to; 0: none.", "job")
	workersOwned   = describe("modulo_workers_owned", "Workers that this instance owns.", "job")
	workersUnowned = describe("modulo_workers_unowned", "Workers that no instance owns.", "job")
	workersStalled = describe("modulo_workers_stalled", "Workers of this instance that have something to do and a broker, and get nowhere: those that fail /readyz.", "job")
	tokenProblems  = describe("modulo_token_problems", "Workers that wait for a person, because their token on the broker is gone or doubled.", "job")
	jobPaused      = describe("modulo_job_paused", "1 if the job is paused.", "job")
	brokerUp       = describe("modulo_broker_up", "0 if workers of this instance have lost the broker and none has it.")
	databaseUp     = describe("modulo_database_up", "1 if the database answered the last heartbeat or tick.")
)

// Describe implements prometheus.Collector.
func (gauges) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		backlogRows, oldestPending, backlogCapped, backlogSampled, failedRows, retryingRows, lastProgress, lastPass, listening, traceSpans,
		workersInForce,
		workersNext, workersOwned, workersUnowned, workersStalled, tokenProblems, jobPaused, brokerUp, databaseUp,
	} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(metrics chan<- prometheus.Metric) {
	// What is read under the lock is handed on without it: the reader of the channel may be slow.
	for _, metric := range g.read() {
		metrics <- metric
	}
}

func (g gauges) read() []prometheus.Metric {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []prometheus.Metric
	set := func(desc *prometheus.Desc, value float64, labels ...string) {
		list = append(list, prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...))
	}
	set(brokerUp, flag(g.reachesBroker()))
	set(databaseUp, flag(g.database.reachable(now, g.Lease)))
	if g.listens != nil {
		set(listening, flag(*g.listens))
	}
	if g.Traces != nil {
		sent, dropped := g.Traces()
		list = append(list, prometheus.MustNewConstMetric(traceSpans, prometheus.CounterValue, float64(sent), "sent"),
			prometheus.MustNewConstMetric(traceSpans, prometheus.CounterValue, float64(dropped), "dropped"))
	}
	for name, j := range g.jobs {
		if g.ticked() {
			set(workersInForce, float64(j.state.Workers), name)
			set(workersNext, float64(j.state.Next), name)
			set(workersOwned, float64(len(j.workers)), name)
			set(workersUnowned, float64(j.state.Unowned), name)
			set(workersStalled, float64(len(j.stalledWorkers(now, g.Patience))), name)
			set(tokenProblems, float64(j.state.Problems), name)
			set(jobPaused, flag(j.state.Paused), name)
		}
		for number, w := range j.workers {
			set(lastProgress, unix(w.progress), name, strconv.Itoa(number))
			if !w.passed.IsZero() {
				set(lastPass, unix(w.passed), name, strconv.Itoa(number))
			}
		}
		if j.sample.at.IsZero() {
			continue
		}
		backlog := j.sample.backlog
		set(backlogSampled, unix(j.sample.at), name)
		set(backlogCapped, flag(!backlog.Complete), name)
		set(failedRows, float64(backlog.Failed), name)
		set(retryingRows, float64(backlog.Retrying), name)
		for number, w := range backlog.Workers {
			set(backlogRows, float64(w.Pending), name, strconv.Itoa(number))
			if backlog.Aged {
				set(oldestPending, w.Age.Seconds(), name, strconv.Itoa(number))
			}
		}
	}
	return list
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// reachesBroker is true unless workers have lost the broker and none has it. m.mu is held.
func (m *Monitor) reachesBroker() bool {
	lost := false
	for _, j := range m.jobs {
		for _, w := range j.workers {
			if w.broker == up {
				return true
			}
			lost = lost || w.broker == down
		}
	}
	return !lost
}

// refused is true if the broker is there for no worker, and one was turned away in a way that only a person can put right.
// m.mu is held.
func (m *Monitor) refused() bool {
	for _, j := range m.jobs {
		for _, w := range j.workers {
			if w.refused {
				return true
			}
		}
	}
	return false
}

func (d database) reachable(now time.Time, lease time.Duration) bool {
	return !d.failing && !d.answered.IsZero() && now.Sub(d.answered) < lease
}
