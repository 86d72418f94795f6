package monitor

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// everything tells a monitor of every kind of event, with errors and messages full of ids and texts.
func everything(m *Monitor, secret string) {
	texts := errors.New(secret)
	message := jobs.Message{RowID: 4711, EventID: []byte(secret), Key: secret, Destination: "/queue/" + secret, InsertedAt: time.Now()}
	for _, worker := range []jobs.WorkerID{orders, nightly, {Job: "orders", Number: 4711}, {Job: secret, Number: 4711}} {
		for _, err := range []error{
			nil, texts, &jobs.ConnectError{Fault: jobs.FaultConfiguration, Err: texts},
			&jobs.PublishError{Fault: jobs.FaultMessage, Refused: []jobs.Refusal{{Reason: secret}}, Err: texts}, &jobs.MarkRefused{Err: texts},
		} {
			for step := jobs.StepBegin; step <= jobs.StepMark; step++ {
				m.Did(worker, step, 1, time.Second, err)
			}
			m.Passed(worker, jobs.Outcome{Sent: 4711}, err)
			m.Asked(err)
		}
		m.Confirmed(worker, []jobs.Message{message})
		m.Due(worker.Job)
	}
	for _, class := range jobs.Classes() {
		m.Failed(orders, class)
	}
	for _, fault := range []jobs.Fault{jobs.FaultConnection, jobs.FaultBroker, jobs.FaultConfiguration, jobs.FaultMessage} {
		m.Repeated(orders, fault)
	}
	m.Listens(false)
	found := tick(jobs.TakeoverUnfinished)
	found.Dead = []string{secret}
	found.Jobs = append(found.Jobs, jobs.JobState{Job: secret, Workers: 4711})
	m.Ticked(found)
	m.sampleSchema(context.Background(), schemaOf{texts})
	m.jobs["orders"].sample = sample{time.Now(), store.Backlog{Aged: true, Workers: make([]store.WorkerBacklog, 2)}}
}

// TestLabels: under whatever faults, the value of a label is the name of a configured job, the number of a worker, or a word
// of a closed set, so that the number of series is bounded.
func TestLabels(t *testing.T) {
	t.Parallel()
	const secret = "Q4711secret"
	m := newMonitor()
	everything(m, secret)
	words := map[string][]string{
		"job":    {"orders", "nightly"},
		"worker": {"0", "1"},
		"cause":  {"connection", "broker", "configuration", "message"},
		"reason": {"new", "released", "unfinished", missedBusy, missedUnowned},
		"result": {"ok", "fault", "stopped", "sent", "dropped"},
		"kind":   store.RetentionKinds(),
	}
	for _, class := range jobs.Classes() {
		words["class"] = append(words["class"], string(class))
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				known, closed := words[label.GetName()]
				switch {
				case strings.Contains(label.GetValue(), secret) || strings.Contains(label.GetValue(), "4711"):
					t.Errorf("%s has the label %s=%q", family.GetName(), label.GetName(), label.GetValue())
				case !strings.HasPrefix(family.GetName(), "modulo_") || family.GetName() == "modulo_build_info":
				case !closed || !slices.Contains(known, label.GetValue()):
					t.Errorf("%s has the label %s=%q", family.GetName(), label.GetName(), label.GetValue())
				}
			}
			series++
		}
	}
	before := series
	everything(m, secret+strconv.Itoa(before))
	families, err = m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		before -= len(family.GetMetric())
	}
	if before != 0 {
		t.Errorf("%d more series after more faults", -before)
	}
}

// TestMissed: a worker that cannot begin when cron calls misses a pass; at intervals, or paused, nothing is missed.
func TestMissed(t *testing.T) {
	t.Parallel()
	const (
		busy    = `modulo_passes_missed_total{job="nightly",reason="busy"}`
		unowned = `modulo_passes_missed_total{job="nightly",reason="unowned"}`
	)
	m := newMonitor()
	due := func(wantBusy, wantUnowned string) {
		t.Helper()
		m.Due("nightly")
		m.Due("orders")
		wantValues(t, m, map[string]string{busy: wantBusy, unowned: wantUnowned})
	}
	due("0", "0")
	m.Did(nightly, jobs.StepBegin, 0, 0, nil)
	m.Did(orders, jobs.StepBegin, 0, 0, nil)
	due("1", "0")
	m.Passed(nightly, jobs.Outcome{}, errors.New("no answer")) // it tries again and again
	due("2", "0")
	m.Did(nightly, jobs.StepBegin, 0, 0, nil)
	m.Passed(nightly, jobs.Outcome{}, nil)
	due("2", "0")
	alone := tick("")
	alone.Jobs[1].Owned, alone.Jobs[1].Unowned = nil, 2
	m.Ticked(alone)
	due("2", "2")
	alone.Jobs[1].Paused = true
	m.Ticked(alone)
	due("2", "2")
	if _, exists := m.value(t, `modulo_passes_missed_total{job="orders",reason="busy"}`); exists {
		t.Error("a job at intervals misses nothing")
	}
	wantValues(t, m, map[string]string{
		`modulo_passes_total{job="nightly",result="fault"}`: "1", `modulo_passes_total{job="nightly",result="ok"}`: "1",
	})
	m.Passed(nightly, jobs.Outcome{Stopped: true}, context.Canceled)         // by a change of K, before it connected
	m.Passed(nightly, jobs.Outcome{Stopped: true, Sent: 1}, nil)             // in the middle
	m.Passed(nightly, jobs.Outcome{Stopped: true, Sent: 1}, errors.New("x")) // and its batch was not confirmed
	wantValues(t, m, map[string]string{
		`modulo_passes_total{job="nightly",result="fault"}`: "2", `modulo_passes_total{job="nightly",result="ok"}`: "1",
		`modulo_passes_total{job="nightly",result="stopped"}`: "2",
	})
}

// TestListens: there is no word of listening where no job does.
func TestListens(t *testing.T) {
	t.Parallel()
	m := newMonitor()
	if _, exists := m.value(t, "modulo_listening"); exists {
		t.Error("it listens, although no job does")
	}
	m.Listens(false)
	wantValues(t, m, map[string]string{"modulo_listening": "0"})
	m.Listens(true)
	wantValues(t, m, map[string]string{"modulo_listening": "1"})
}
