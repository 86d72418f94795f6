package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"modulo/jobs"
	"modulo/store"
)

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
	wantReady(t, m, http.StatusServiceUnavailable, "service failing", "database failing", "schema failing")
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
