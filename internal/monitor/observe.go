package monitor

import (
	"errors"
	"slices"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// job is what is known of a job.
type job struct {
	schedule jobs.Schedule
	state    jobs.JobState   // of the last tick, without Owned
	workers  map[int]*worker // of this instance
	sample   sample
	parted   map[int]parting // of workers that are no longer of this instance
}

// interval says whether its passes begin at intervals; a backlog between the passes of a cron job is normal.
func (j *job) interval() bool { return j.schedule.Cron == "" }

// worker is a worker that this instance owns.
type worker struct {
	progress time.Time // the broker confirmed, a batch was marked, or a pass ended well; at first: it got its owner
	expected time.Time // since when there could be progress
	passing  bool
	failing  bool // its last pass ended early
	broker   connection
	blocked  bool      // the last thing that was published did not get through
	lost     bool      // there was a fault since the connection was opened
	refused  bool      // of the last fault: waiting does not put it right, such as a wrong login or a token that is gone
	passed   time.Time // the last pass ended well; zero: none has
	tally    tally
}

// connection is how a worker sees the broker.
type connection int

const (
	untried connection = iota
	up
	down
)

// database is how this instance sees the database.
type database struct {
	answered time.Time
	failing  bool // the last call was not answered
}

// Did implements jobs.Observer.
func (m *Monitor) Did(id jobs.WorkerID, step jobs.Step, rows int, took time.Duration, err error) {
	m.move()
	if c := m.counts.jobs[id.Job]; c != nil {
		c.did(step, rows, took, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.worker(id)
	if w == nil {
		return
	}
	now := time.Now()
	switch step {
	case jobs.StepBegin:
		w.passing = true
		if !w.failing {
			w.expected = now
		}
	case jobs.StepConnect:
		if w.connected(now, err) {
			m.counts.reconnects.Inc()
		}
	case jobs.StepPublish:
		w.published(now, err)
	case jobs.StepMark:
		if err == nil {
			w.progress = now
			w.tally.done += int64(rows)
		}
	case jobs.StepLeave:
		w.passing, w.failing, w.broker, w.blocked, w.lost = false, false, untried, false, false
	}
}

// worker returns nil for one that the instance does not own. m.mu is held.
func (m *Monitor) worker(id jobs.WorkerID) *worker {
	if j := m.jobs[id.Job]; j != nil {
		return j.workers[id.Number]
	}
	return nil
}

// connected says whether a connection was opened again after a fault.
func (w *worker) connected(now time.Time, err error) (again bool) {
	if err != nil {
		failed, ok := errors.AsType[*jobs.ConnectError](err)
		w.broker, w.lost, w.refused = down, true, ok && failed.Fault == jobs.FaultConfiguration
		return false
	}
	w.refused = false
	if !w.blocked { // else the broker may take connections and nothing more
		w.reach(now)
	}
	again, w.lost = w.lost, false
	return again
}

func (w *worker) published(now time.Time, err error) {
	if err == nil {
		w.blocked, w.progress = false, now
		w.reach(now)
		return
	}
	if failed, ok := errors.AsType[*jobs.PublishError](err); ok && failed.Fault == jobs.FaultMessage {
		return
	}
	w.broker, w.blocked, w.lost = down, true, true
}

// reach notes that the broker works.
func (w *worker) reach(now time.Time) {
	if w.broker == down {
		w.expected = now
	}
	w.broker = up
}

// Passed implements jobs.Observer.
func (m *Monitor) Passed(id jobs.WorkerID, outcome jobs.Outcome, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.counts.jobs[id.Job]; c != nil {
		c.passed(outcome, err)
	}
	if j := m.jobs[id.Job]; j != nil {
		m.past.passed(id, outcome, err, time.Now(), j.interval())
	}
	w := m.worker(id)
	if w == nil {
		return
	}
	w.passing, w.failing = false, err != nil
	w.tally.passed(outcome, err, !m.jobs[id.Job].interval())
	if err == nil {
		w.progress, w.blocked = time.Now(), false
		w.passed = w.progress
		w.reach(w.progress)
	}
}

// Confirmed implements jobs.Observer.
func (m *Monitor) Confirmed(id jobs.WorkerID, messages []jobs.Message) {
	if c := m.counts.jobs[id.Job]; c != nil {
		c.confirmed(messages)
	}
}

// Repeated implements jobs.Observer.
func (m *Monitor) Repeated(id jobs.WorkerID, after jobs.Fault) {
	m.counts.repeated.WithLabelValues(id.Job, after.String()).Inc()
}

// SetBack implements jobs.Observer.
func (m *Monitor) SetBack(id jobs.WorkerID, transactions int64) {
	m.counts.setBack.WithLabelValues(id.Job).Add(float64(transactions))
}

// Failed implements jobs.Observer.
func (m *Monitor) Failed(id jobs.WorkerID, class jobs.Class) {
	m.counts.failed.WithLabelValues(id.Job, string(class)).Inc()
}

// Asked implements jobs.InstanceObserver.
func (m *Monitor) Asked(err error) {
	m.move()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.database.failing = err != nil && !errors.Is(err, jobs.ErrFenced)
	if !m.database.failing {
		m.database.answered = time.Now()
	}
}

// Ticked implements jobs.InstanceObserver.
func (m *Monitor) Ticked(tick jobs.Tick) {
	m.counts.expired.Add(float64(len(tick.Dead)))
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ticked() {
		close(m.known)
	}
	for _, state := range tick.Jobs {
		j := m.jobs[state.Job]
		if j == nil {
			continue
		}
		j.tick(state, time.Now())
		for _, owned := range state.Owned {
			if owned.Takeover != "" {
				m.counts.takeovers.WithLabelValues(state.Job, string(owned.Takeover)).Inc()
			}
		}
	}
}

// Due implements jobs.InstanceObserver. A pass by a cron expression that cannot begin now is missed: it comes late, together
// with the one that is under way, or not at all. At intervals the next one is due at once, so nothing is missed.
func (m *Monitor) Due(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[name]
	if j == nil || j.interval() || j.state.Paused || !m.ticked() {
		return
	}
	now := time.Now()
	m.counts.missed.WithLabelValues(name, missedUnowned).Add(float64(j.state.Unowned))
	m.past.missed(jobs.WorkerID{Job: name, Number: store.NoWorker}, j.state.Unowned, j.schedule.Meant(now), "no instance owned them")
	for number, w := range j.workers {
		if w.passing || w.failing {
			m.counts.missed.WithLabelValues(name, missedBusy).Inc()
			m.past.missed(jobs.WorkerID{Job: name, Number: number}, 1, now, "the pass before was still under way, or tried again")
		}
	}
}

// Listens implements jobs.InstanceObserver.
func (m *Monitor) Listens(is bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listens = &is
}

// ticked says whether there was a tick.
func (m *Monitor) ticked() bool {
	select {
	case <-m.known:
		return true
	default:
		return false
	}
}

func (j *job) tick(state jobs.JobState, now time.Time) {
	for number := range j.workers {
		if !slices.ContainsFunc(state.Owned, func(o jobs.Owned) bool { return o.Number == number }) {
			j.part(number)
		}
	}
	for _, owned := range state.Owned {
		w := j.workers[owned.Number]
		if w == nil {
			w = &worker{progress: now, expected: now}
			j.workers[owned.Number] = w
		}
		if state.Paused || state.Hold {
			w.expected = now
		}
	}
	state.Owned = nil
	j.state = state
}

// Left implements jobs.InstanceObserver.
func (m *Monitor) Left() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		for number := range j.workers {
			j.part(number)
		}
	}
}

// Removed implements retention.Observer.
func (m *Monitor) Removed(kind string, rows int) {
	m.counts.removed.WithLabelValues(kind).Add(float64(rows))
}
