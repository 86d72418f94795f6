package stomp

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"modulo/jobs"
)

// batch holds the broker's answers to the receipts asked for last. The reader writes it, the publisher reads it.
type batch struct {
	mu       sync.Mutex
	first    uint64        // id of the first receipt asked for
	outcomes []outcome     // by id - first
	answers  int           // outcomes known
	refusals []refusal     // ERRORs that name a receipt
	stray    *ServerError  // first ERROR that names none of ours
	lost     error         // why the connection ended
	changed  chan struct{} // holds a token when something above has changed
}

type outcome uint8

const (
	unanswered outcome = iota
	confirmed
	refused
)

// refusal is an ERROR about the frame with receipt first + index.
type refusal struct {
	index int
	err   *ServerError
}

// expect begins a batch of n receipts. Answers to earlier ones come too late and are ignored from here on.
func (b *batch) expect(first uint64, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.first, b.answers, b.refusals, b.stray = first, 0, nil, nil
	if cap(b.outcomes) < n {
		b.outcomes = make([]outcome, n)
	}
	b.outcomes = b.outcomes[:n]
	clear(b.outcomes)
}

// settle ends the batch: nothing is expected any more.
func (b *batch) settle() { b.expect(0, 0) }

// confirm notes a RECEIPT. Unknown and repeated ids change nothing.
func (b *batch) confirm(id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if index, ok := b.open(id); ok {
		b.outcomes[index] = confirmed
		b.answers++
		b.wake()
	}
}

// refuse notes an ERROR. It returns false if no batch is under way.
func (b *batch) refuse(id uint64, err *ServerError) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.outcomes) == 0 {
		return false
	}
	if index, ok := b.open(id); ok {
		b.outcomes[index] = refused
		b.answers++
		b.refusals = append(b.refusals, refusal{index, err})
	} else if b.stray == nil {
		b.stray = err
	}
	b.wake()
	return true
}

func (b *batch) open(id uint64) (index int, ok bool) {
	if id < b.first || id-b.first >= uint64(len(b.outcomes)) {
		return 0, false
	}
	index = int(id - b.first)
	return index, b.outcomes[index] == unanswered
}

func (b *batch) lose(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost == nil {
		b.lost = cause
	}
	b.wake()
}

func (b *batch) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

func (b *batch) cause() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// result is what is known of a batch.
type result struct {
	answers  int
	refusals []refusal
	stray    *ServerError
	lost     error
}

func (b *batch) result() result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return result{b.answers, b.refusals, b.stray, b.lost}
}

// clean says that no ERROR of any kind came.
func (r result) clean() bool { return len(r.refusals) == 0 && r.stray == nil }

// cause puts the reasons for an unfinished batch together; err is where it ended on our side, nil if it did not.
func (r result) cause(err error) error {
	if r.lost != nil {
		err = r.lost
	}
	switch {
	case r.stray == nil:
		return err
	case err == nil || errors.Is(err, r.stray):
		return r.stray
	}
	return fmt.Errorf("%w; then %w", r.stray, err)
}

// confirmations lists the confirmed indexes in order.
func (b *batch) confirmations() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	var indexes []int
	for i, o := range b.outcomes {
		if o == confirmed {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// await waits for at least n answers. The broker has patience to give the next one, counted anew from each. A broker
// without room may say so for every message, each time after a while: the first time ends the wait.
func (c *conn) await(n int, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for before := 0; ; {
		now := c.batch.result()
		switch {
		case now.answers >= n:
			return nil
		case now.lost != nil:
			return now.lost
		case now.stray != nil && now.stray.fault() == jobs.FaultBroker:
			return now.stray
		case now.answers > before:
			before = now.answers
			timer.Reset(patience)
		}
		select {
		case <-c.batch.changed:
		case <-timer.C:
			return fmt.Errorf("%w within %s", errNoReceipt, patience)
		}
	}
}
