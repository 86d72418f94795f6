package jobs

import (
	"context"
	"slices"
)

// The broker of the world: it implements Publisher.

func (w *world) Connect(ctx context.Context) (Recall, error) {
	if err := w.meet(ctx, "connect", nil); err != nil {
		return Recall{}, err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.connected {
		return Recall{}, nil
	}
	if ctx.Err() != nil || w.strike(publishing, "connect fails") {
		return Recall{}, &ConnectError{Fault: FaultConnection, Err: errSim}
	}
	w.connected = true
	return Recall{Kept: w.recalls, Rows: w.deliveredRows(), SetBack: w.setBack}, nil
}

// deliveredRows are the rows that the broker names. All events have the same id here.
func (w *world) deliveredRows() (rows []Delivered) {
	event := EventSum([]byte("test"))
	if w.others {
		event++
	}
	for _, id := range w.recall {
		rows = append(rows, Delivered{id, event})
	}
	return rows
}

// Forget empties what the broker recalls.
func (w *world) Forget(ctx context.Context) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.forgets++
	if len(w.recall) == 0 || !w.connected {
		return nil
	}
	if ctx.Err() != nil || w.strike(publishing, "forget fails") {
		return w.lose(nil)
	}
	w.recall = nil
	if w.strike(publishing, "forgotten, its answer got lost") {
		return w.lose(nil)
	}
	return nil
}

func (w *world) Atomic() bool { return w.atomic }

func (w *world) Close() error {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.connected = false
	return nil
}

func (w *world) takes(id int64) bool {
	n := w.table[id].nature
	return n == good || n == unmarkable || n == healing && w.sendings[id] > 2
}

func (w *world) Publish(ctx context.Context, messages []Message, open []int64) error {
	ids := make([]int64, len(messages))
	for i, m := range messages {
		ids[i] = m.RowID
	}
	if err := w.meet(ctx, "publish", ids); err != nil {
		return err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if !w.connected {
		w.broken("publish without a connection")
	}
	underWay := len(ids)
	for id := range w.confirmed {
		if w.table[id].pending { // else the application has withdrawn it, and nobody marks it
			underWay++
		}
	}
	if underWay > 2*w.limit {
		w.broken("%d rows sent and not marked, with batches of %d", underWay, w.limit)
	}
	for _, id := range ids {
		w.sendings[id]++
		if w.confirmed[id] {
			w.broken("row %d is sent although it is confirmed", id)
		}
	}
	if ctx.Err() != nil {
		return w.lose(ids)
	}
	defer func() {
		if cause := recover(); cause != nil {
			w.lose(ids)
			panic(cause)
		}
	}()
	if w.atomic {
		return w.publishAtomic(ids, open)
	}
	return w.publishEach(ids)
}

// lose is a lost connection with these messages under way.
func (w *world) lose(ids []int64) *PublishError {
	w.connected = false
	if len(ids) == 1 {
		w.lostAlone[ids[0]]++
	}
	return &PublishError{Fault: FaultConnection, Err: errSim}
}

// take is a message on the broker's disk.
func (w *world) take(id int64) {
	w.delivered = append(w.delivered, id)
}

func (w *world) publishAtomic(ids, open []int64) error {
	isDeadly := func(id int64) bool { return w.table[id].nature == deadly }
	if slices.ContainsFunc(ids, isDeadly) || w.strike(publishing, "connection lost before the commit") {
		return w.lose(ids)
	}
	if slices.ContainsFunc(ids, func(id int64) bool { return !w.takes(id) }) {
		w.connected = false
		return &PublishError{Fault: FaultMessage, Err: errSim}
	}
	if w.strike(publishing, "no room") {
		return &PublishError{Fault: FaultBroker, Err: errSim}
	}
	for _, id := range ids {
		w.take(id)
	}
	if w.recalls {
		w.recall = slices.Sorted(slices.Values(slices.Concat(open, ids)))
		for id := range w.confirmed {
			if w.table[id].pending && !slices.Contains(w.recall, id) {
				w.broken("row %d is confirmed and not marked, but not among the open rows %v", id, open)
			}
		}
	}
	w.doubts += len(ids) // until the answer is there
	if w.strike(publishing, "connection lost after the commit") {
		return w.lose(ids)
	}
	w.doubts -= len(ids)
	for _, id := range ids {
		w.confirmed[id] = true
	}
	return nil
}

func (w *world) publishEach(ids []int64) error {
	result := &PublishError{Fault: FaultMessage, Err: errSim}
	w.doubts += len(ids) // until the answers are there
	for i, id := range ids {
		if w.table[id].nature == deadly || w.strike(publishing, "connection lost") {
			return w.answer(ids, result, w.lose(ids))
		}
		if !w.takes(id) {
			result.Refused = append(result.Refused, Refusal{Index: i, Reason: "refused"})
			if w.strike(publishing, "connection closed after the refusal") {
				w.connected = false
				return w.answer(ids, result, result)
			}
			continue
		}
		w.take(id)
		if w.strike(publishing, "receipt lost") {
			return w.answer(ids, result, w.lose(ids))
		}
		result.Confirmed = append(result.Confirmed, i)
	}
	if w.answer(ids, result, result); len(result.Refused) == 0 {
		return nil
	}
	return result
}

// answer tells the worker of each message what is known of it.
func (w *world) answer(ids []int64, known, result *PublishError) error {
	result.Confirmed, result.Refused = known.Confirmed, known.Refused
	w.doubts -= len(known.Confirmed) + len(known.Refused)
	for _, i := range known.Confirmed {
		w.confirmed[ids[i]] = true
	}
	return result
}
