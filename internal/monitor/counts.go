package monitor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modulo/jobs"
	"modulo/store"
)

// counts are the counters and histograms. Those of a job exist from the start, at zero, so that an increase from nothing
// is seen as one.
type counts struct {
	jobs       map[string]*jobCounts // fixed
	failed     *prometheus.CounterVec
	repeated   *prometheus.CounterVec
	setBack    *prometheus.CounterVec
	takeovers  *prometheus.CounterVec
	missed     *prometheus.CounterVec
	reconnects prometheus.Counter
	expired    prometheus.Counter
	removed    *prometheus.CounterVec
}

// jobCounts are looked up once, so that the hot path neither hashes labels nor allocates.
type jobCounts struct {
	sent, done                  prometheus.Counter
	batch, fetch, publish, mark prometheus.Observer
	latency                     prometheus.Observer
	passes, brokenOff, stopped  prometheus.Counter
}

// Why a pass could not begin when a cron expression called for it.
const (
	missedBusy    = "busy"    // the worker was in an earlier one, or in a fault's pause
	missedUnowned = "unowned" // the worker had no owner
)

var (
	rowBuckets     = []float64{1, 5, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000}
	stageBuckets   = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	latencyBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600}
)

func newCounts(registry *prometheus.Registry, list []*jobs.Job) *counts {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"job"}, labels...))
		registry.MustRegister(vec)
		return vec
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"job"})
		registry.MustRegister(vec)
		return vec
	}
	removed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "modulo_retention_rows_total", Help: "Old rows that retention has deleted (done, audit) or discarded (failed), by kind.",
	}, []string{"kind"})
	registry.MustRegister(removed)
	single := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	sent := counter("modulo_rows_sent_total", "Messages handed to the broker, repeats included.")
	done := counter("modulo_rows_done_total", "Rows marked done.")
	batch := histogram("modulo_batch_rows", "Rows of a fetched batch.", rowBuckets)
	fetch := histogram("modulo_fetch_seconds", "Time to fetch a batch, empty ones included.", stageBuckets)
	publish := histogram("modulo_publish_seconds", "Time from sending a batch to its last receipt.", stageBuckets)
	mark := histogram("modulo_mark_seconds", "Time to mark a batch done.", stageBuckets)
	passes := counter("modulo_passes_total", "Passes of workers that have ended, by result.", "result")
	latency := histogram("modulo_row_latency_seconds", "Time from a row's created_at to its receipt.", latencyBuckets)
	c := &counts{
		jobs:       map[string]*jobCounts{},
		failed:     counter("modulo_rows_failed_total", "Attempts of rows that were refused for themselves, by class.", "class"),
		repeated:   counter("modulo_rows_repeated_total", "Rows sent again because a fault left their outcome open, by kind of fault.", "cause"),
		setBack:    counter("modulo_broker_set_back_total", "Confirmed transactions that the broker turned out to have lost."),
		takeovers:  counter("modulo_takeovers_total", "Workers that this instance has become the owner of, by how they came to be free.", "reason"),
		missed:     counter("modulo_passes_missed_total", "Passes of single workers that could not begin when a cron expression called for them, by reason.", "reason"),
		reconnects: single("modulo_broker_reconnects_total", "Connections to the broker that were opened again after a fault."),
		expired:    single("modulo_instances_expired_total", "Instances found dead by this one: their lease had run out."),
		removed:    removed,
	}
	for _, kind := range store.RetentionKinds() {
		removed.WithLabelValues(kind)
	}
	for _, job := range list {
		c.jobs[job.Name] = &jobCounts{
			sent: sent.WithLabelValues(job.Name), done: done.WithLabelValues(job.Name), batch: batch.WithLabelValues(job.Name),
			fetch: fetch.WithLabelValues(job.Name), publish: publish.WithLabelValues(job.Name), mark: mark.WithLabelValues(job.Name),
			latency: latency.WithLabelValues(job.Name), passes: passes.WithLabelValues(job.Name, "ok"),
			brokenOff: passes.WithLabelValues(job.Name, "fault"), stopped: passes.WithLabelValues(job.Name, "stopped"),
		}
		c.begin(job.Name)
		if job.Schedule.Cron != "" {
			c.missed.WithLabelValues(job.Name, missedBusy)
			c.missed.WithLabelValues(job.Name, missedUnowned)
		}
	}
	return c
}

// begin makes the series of a job that have one more label.
func (c *counts) begin(job string) {
	c.setBack.WithLabelValues(job)
	for _, class := range jobs.Classes() {
		c.failed.WithLabelValues(job, string(class))
	}
	for _, cause := range []jobs.Fault{jobs.FaultConnection, jobs.FaultBroker, jobs.FaultMessage} {
		c.repeated.WithLabelValues(job, cause.String())
	}
	for _, reason := range []jobs.Takeover{jobs.TakeoverNew, jobs.TakeoverReleased, jobs.TakeoverUnfinished} {
		c.takeovers.WithLabelValues(job, string(reason))
	}
}

// did counts a step. Only what worked is timed.
func (c *jobCounts) did(step jobs.Step, rows int, took time.Duration, err error) {
	if step == jobs.StepPublish {
		c.sent.Add(float64(rows))
	}
	if err != nil {
		return
	}
	switch step {
	case jobs.StepFetch:
		c.fetch.Observe(took.Seconds())
		if rows > 0 {
			c.batch.Observe(float64(rows))
		}
	case jobs.StepPublish:
		c.publish.Observe(took.Seconds())
	case jobs.StepMark:
		c.mark.Observe(took.Seconds())
		c.done.Add(float64(rows))
	}
}

// passed counts a pass. One that a fault ended begins again after a pause.
func (c *jobCounts) passed(outcome jobs.Outcome, err error) {
	switch {
	case outcome.Stopped && (err == nil || outcome.Sent == 0):
		c.stopped.Inc()
	case err != nil:
		c.brokenOff.Inc()
	default:
		c.passes.Inc()
	}
}

// confirmed takes the latency of each message; rows that do not tell when they were inserted have none.
func (c *jobCounts) confirmed(messages []jobs.Message) {
	now := time.Now()
	for i := range messages {
		if inserted := messages[i].InsertedAt; !inserted.IsZero() {
			c.latency.Observe(max(0, now.Sub(inserted).Seconds()))
		}
	}
}
