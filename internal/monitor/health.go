package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"modulo/store"
)

// status is the outcome of a check. What is degraded still is ready.
type status string

const (
	ok       status = "ok"
	degraded status = "degraded"
	failing  status = "failing"
)

// check is one line of a report. The reason names jobs and workers, never a row, an address or an error's text.
type check struct {
	Name   string `json:"name"`
	Status status `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// report is the body of an answer to a probe; its status is the worst of its checks.
type report struct {
	Status status  `json:"status"`
	Checks []check `json:"checks"`
}

// Livez answers whether the process is alive: whether anything has moved lately. It looks at neither database nor
// broker; waiting for them, with attempts now and then, is being alive.
func (m *Monitor) Livez(w http.ResponseWriter, _ *http.Request) { answer(w, m.alive()) }

// Readyz answers whether the service can do its work.
func (m *Monitor) Readyz(w http.ResponseWriter, _ *http.Request) { answer(w, m.ready(time.Now())) }

func answer(w http.ResponseWriter, checks []check) {
	r := report{Status: ok, Checks: checks}
	code := http.StatusOK
	for _, c := range checks {
		switch {
		case c.Status == failing:
			r.Status, code = failing, http.StatusServiceUnavailable
		case c.Status == degraded && r.Status == ok:
			r.Status = degraded
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(r) // a prober that is gone misses nothing
}

// minSilence is the least time without a move after which the process counts as stuck.
const minSilence = 5 * time.Minute

// alive: a service that runs ticks, beats or at least tries to, all the time. Before that each call has its time-out.
func (m *Monitor) alive() []check {
	m.mu.Lock()
	p := m.phase
	m.mu.Unlock()
	silence := time.Since(m.born) - time.Duration(m.moved.Load())
	if p != starting && silence > max(minSilence, 2*m.Patience) {
		return []check{{"process", failing, "nothing has moved for " + silence.Round(time.Second).String()}}
	}
	return []check{{"process", ok, ""}}
}

func (m *Monitor) ready(now time.Time) []check {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []check{m.checkService(), m.checkDatabase(now), m.checkSchema(), m.checkWorkers(now), m.checkBroker()}
}

func (m *Monitor) checkService() check {
	switch m.phase {
	case starting:
		return check{"service", failing, "starting: the jobs are not checked against the database yet"}
	case stopping:
		return check{"service", failing, "stopping"}
	}
	return check{"service", ok, ""}
}

func (m *Monitor) checkDatabase(now time.Time) check {
	switch {
	case m.database.reachable(now, m.Lease):
		return check{"database", ok, ""}
	case m.database.answered.IsZero():
		return check{"database", failing, "no answer yet"}
	}
	return check{"database", failing, "last answer " + now.Sub(m.database.answered).Round(time.Millisecond).String() + " ago"}
}

// checkSchema knows what was last sampled; a database that could not be asked is another check. A newer schema is what
// a rollout begins with: it works beside the release before it.
func (m *Monitor) checkSchema() check {
	schema, wrong := errors.AsType[*store.SchemaError](m.schema)
	switch {
	case !wrong && m.phase == starting:
		return check{"schema", failing, "not looked at yet"}
	case !wrong:
		return check{"schema", ok, ""}
	case schema.State == store.SchemaNewer:
		return check{"schema", degraded, schema.Error()}
	}
	return check{"schema", failing, schema.Error()}
}

func (m *Monitor) checkBroker() check {
	if m.reachesBroker() {
		return check{"broker", ok, ""}
	}
	if m.refused() {
		return check{"broker", degraded, "it turns the workers away: login, TLS, version or token; a person has to act, see the log or modulo doctor"}
	}
	return check{"broker", degraded, "lost; the workers try again"}
}

// maxNamed is how many stalled workers are named.
const maxNamed = 10

func (m *Monitor) checkWorkers(now time.Time) check {
	var stalled []string
	for name, j := range m.jobs {
		for _, number := range j.stalledWorkers(now, m.Patience) {
			stalled = append(stalled, fmt.Sprintf("%s/%d", name, number))
		}
	}
	if len(stalled) == 0 {
		return check{"workers", ok, ""}
	}
	slices.Sort(stalled)
	names := strings.Join(stalled[:min(len(stalled), maxNamed)], ", ")
	return check{"workers", failing, fmt.Sprintf("%d without progress for %s: %s", len(stalled), m.Patience, names)}
}

// stalledWorkers are the numbers of those that are stalled.
func (j *job) stalledWorkers(now time.Time, patience time.Duration) (numbers []int) {
	for number, w := range j.workers {
		if j.stalled(number, w, now, patience) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// stalled says whether a worker that has something to do, and a broker to do it with, gets nowhere.
func (j *job) stalled(number int, w *worker, now time.Time, patience time.Duration) bool {
	if w.broker == down || j.state.Paused || j.state.Hold {
		return false
	}
	waiting := j.interval() && number < len(j.sample.backlog.Workers) && j.sample.backlog.Workers[number].Pending > 0
	since := w.progress
	if w.expected.After(since) {
		since = w.expected
	}
	return (w.passing || w.failing || waiting) && now.Sub(since) > patience
}
