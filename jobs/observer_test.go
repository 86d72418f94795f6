package jobs

import (
	"sync"
	"time"
)

// totals sums up what the passes did, and holds against it what was told step by step.
type totals struct {
	unobserved
	world *world

	lock    sync.Mutex // the stages of a pass tell beside each other
	told    Outcome
	setBack int64
}

func (t *totals) Did(_ WorkerID, step Step, rows int, _ time.Duration, err error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	switch {
	case step == StepPublish:
		t.told.Sent += rows
	case step == StepMark && err == nil:
		t.told.Done += rows
	}
}

func (t *totals) Repeated(_ WorkerID, _ Fault) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.told.Repeated++
}

func (t *totals) SetBack(_ WorkerID, transactions int64) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.setBack += transactions
}

func (t *totals) Failed(_ WorkerID, _ Class) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.told.Failed++
}

func (t *totals) Passed(_ WorkerID, outcome Outcome, _ error) {
	t.world.total.Add(outcome)
	t.lock.Lock()
	told := t.told
	t.lock.Unlock()
	total := t.world.total
	told.Fetched, told.Took, told.Stopped, told.again = total.Fetched, total.Took, total.Stopped, total.again // not told by steps
	if told != total {
		t.world.lock.Lock()
		defer t.world.lock.Unlock()
		t.world.broken("the observer was told of %+v, the outcomes are %+v", told, total)
	}
}
