package jobs

import (
	"context"
	"errors"
	"slices"
	"time"
)

// deliver builds, sends and confirms one batch. It parks the rows that were refused for themselves and returns the ids
// that are confirmed, sorted, also beside an error: whatever ends the rest, they get their mark.
func (w *Worker) deliver(finish context.Context, batch Batch, under *suspects, outcome *Outcome, trace *BatchTrace) (done []int64, err error) {
	d := &sending{worker: w, suspects: under, outcome: outcome, trace: trace, attempts: map[int64]int{}}
	err = guard(func() error { return d.deliver(finish, batch) })
	slices.Sort(d.confirmed)
	return d.confirmed, err
}

// build returns the messages to send. In an ordered job the rows behind a failed one of their key are left out.
func (w *Worker) build(batch Batch) ([]Message, []Failure) {
	if !w.Job.Ordered {
		return w.builder.Build(batch)
	}
	batch.Rows = slices.DeleteFunc(batch.Rows, func(row Row) bool { return w.holds(row.Key) })
	messages, failures := w.builder.Build(batch)
	failedAt := map[string]int64{}
	for _, f := range slices.Backward(failures) {
		failedAt[f.Key] = f.RowID
	}
	messages = slices.DeleteFunc(messages, func(m Message) bool {
		at, failed := failedAt[m.Key]
		return failed && m.Key != "" && m.RowID > at
	})
	return messages, failures
}

// hold keeps the rows of a key from being sent for the rest of the pass; rows without a key have no order.
func (w *Worker) hold(key string) {
	if w.Job.Ordered && key != "" {
		w.held[key] = struct{}{}
	}
}

func (w *Worker) holds(key string) bool {
	_, held := w.held[key]
	return held
}

// park records failures with the time of their next attempt. Only what the broker refused is worth another attempt
// by itself; a row that cannot be sent as it is waits for a person.
func (w *Worker) park(finish context.Context, failures []Failure, outcome *Outcome) error {
	if len(failures) == 0 {
		return nil
	}
	for i := range failures {
		if f := &failures[i]; f.Class == ClassRefused {
			f.RetryAfter = w.Job.Retry.Delay(f.Attempts)
		}
	}
	if err := w.Failures.Park(finish, failures); err != nil {
		return err
	}
	outcome.Failed += len(failures)
	for i := range failures {
		f := &failures[i]
		w.Observer.Failed(w.id, f.Class)
		w.Log.Warn().Int64("row_id", f.RowID).Str("event_id", f.EventID).Str("class", string(f.Class)).
			Str("reason", f.Reason).Int("attempts", f.Attempts).Dur("retry_after_ms", f.RetryAfter).Msg("row failed")
	}
	return nil
}

// sending is the way of one batch's messages to the broker.
type sending struct {
	worker    *Worker
	suspects  *suspects
	outcome   *Outcome
	trace     *BatchTrace
	attempts  map[int64]int // earlier ones, of rows to retry
	confirmed []int64
	refused   []Failure
}

func (d *sending) deliver(finish context.Context, batch Batch) error {
	w := d.worker
	for _, row := range batch.Rows {
		if row.Attempts > 0 {
			d.attempts[row.ID] = row.Attempts
		}
	}
	messages, failures := w.build(batch)
	err := d.send(finish, messages)
	for _, f := range failures {
		w.hold(f.Key)
	}
	return errors.Join(err, w.park(finish, append(failures, d.refused...), d.outcome))
}

// send publishes the messages in parts that isolate what a connection did not survive before. The end of the lease cuts
// it short.
func (d *sending) send(finish context.Context, messages []Message) error {
	ctx, unbind := d.worker.Lease.Bind(finish)
	defer unbind()
	for _, part := range d.suspects.split(messages) {
		err := d.publish(ctx, part)
		if err == nil {
			continue
		}
		if connectionLost(err) {
			d.suspect(part)
		}
		return err
	}
	if d.suspects.strikes > 0 && slices.ContainsFunc(messages, d.suspects.hasMessage) {
		d.suspects.clear()
	}
	return nil
}

// suspect narrows the suspicion after a lost connection. A message that was set aside, and costs one connection after the
// other although the broker has taken others, is to blame.
func (d *sending) suspect(part []Message) {
	w, id := d.worker, part[0].RowID
	if alone, aside := w.aside.get(id); aside && len(part) == 1 {
		alone.lost++
		w.aside.set(id, alone)
		w.hold(part[0].Key)
		if alone.lost >= enoughLost && w.carried.After(alone.since) {
			w.aside.end(id)
			d.refuse(part[0], "the connection was lost each time this message was sent, though others went through")
		}
		return
	}
	d.suspects.add(part)
	if id, ok := d.suspects.single(); ok {
		w.aside.set(id, isolation{since: time.Now()})
		d.suspects.clear()
	}
}

func connectionLost(err error) bool {
	published, ok := errors.AsType[*PublishError](err)
	return ok && published.Fault == FaultConnection
}

// publish sends messages in order, as many at a time as may be under way together.
func (d *sending) publish(ctx context.Context, messages []Message) error {
	for len(messages) > 0 {
		if err := d.worker.reconnect(ctx); err != nil {
			return err
		}
		n := d.worker.together(messages)
		if err := d.publishPart(ctx, messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// together counts the first messages that may be under way together. Where the broker confirms one message at a time, a
// refused one must not be overtaken by a later one of its key.
func (w *Worker) together(messages []Message) int {
	if !w.Job.Ordered || w.Publisher.Atomic() {
		return len(messages)
	}
	keys := map[string]struct{}{}
	for i, m := range messages {
		if _, seen := keys[m.Key]; seen && m.Key != "" {
			return i
		}
		keys[m.Key] = struct{}{}
	}
	return len(messages)
}

// publishPart sends messages together. What is refused as a whole it sends in halves, to find the culprit; what the
// broker left open beside a refused message it sends again.
func (d *sending) publishPart(ctx context.Context, messages []Message) error {
	if d.worker.Job.Ordered {
		messages = slices.DeleteFunc(slices.Clone(messages), func(m Message) bool { return d.worker.holds(m.Key) })
	}
	if len(messages) == 0 {
		return nil
	}
	failed, open := d.publishOnce(ctx, messages)
	switch {
	case failed == nil:
		return nil
	case failed.Fault != FaultMessage:
		return failed
	case len(failed.Refused) > 0:
		return d.publish(ctx, open)
	case len(messages) == 1:
		d.refuse(messages[0], failed.Err.Error())
		return nil
	}
	if err := d.publish(ctx, messages[:len(messages)/2]); err != nil {
		return err
	}
	return d.publish(ctx, messages[len(messages)/2:])
}

// publishOnce hands the messages to the broker and notes what became of each. Beside an error it returns those that were
// neither confirmed nor refused. A panic is taken for a lost connection, so that a message which causes it is found.
func (d *sending) publishOnce(ctx context.Context, messages []Message) (failed *PublishError, open []Message) {
	w := d.worker
	if ctx.Err() != nil { // asked right before: this process may have been paused
		return &PublishError{Fault: FaultConnection, Err: context.Cause(ctx)}, nil
	}
	d.outcome.Sent += len(messages)
	d.outcome.Repeated += w.forgetDoubts(messages)
	started := time.Now()
	err := guard(func() error { return w.Publisher.Publish(ctx, messages, w.open.with(d.confirmed)) })
	w.Observer.Did(w.id, StepPublish, len(messages), time.Since(started), err)
	d.trace.sent(messages, started, err)
	if err == nil {
		w.carried = time.Now()
		w.Observer.Confirmed(w.id, messages)
		d.confirmed = slices.Grow(d.confirmed, len(messages))
		for i := range messages {
			d.confirmed = append(d.confirmed, messages[i].RowID)
		}
		return nil, nil
	}
	failed, ok := errors.AsType[*PublishError](err)
	if !ok {
		failed = &PublishError{Fault: FaultConnection, Err: err}
	}
	known := make([]bool, len(messages))
	for _, i := range failed.Confirmed {
		known[i] = true
		w.carried = time.Now()
		w.Observer.Confirmed(w.id, messages[i:i+1])
		d.confirmed = append(d.confirmed, messages[i].RowID)
	}
	deniedToAll := failed.Fault == FaultMessage && failed.Denied && w.builder.oneDestination()
	if deniedToAll {
		failed.Fault = FaultConfiguration // a missing right, which no row can help
	}
	for _, r := range failed.Refused {
		known[r.Index] = true
		if !deniedToAll {
			d.refuse(messages[r.Index], r.Reason)
		}
	}
	for i := range messages {
		if !known[i] {
			open = append(open, messages[i])
		}
	}
	w.doubt(failed, open)
	return failed, open
}

// doubt remembers the messages that the broker may hold although it did not say so.
func (w *Worker) doubt(failed *PublishError, open []Message) {
	nothingStored := w.Publisher.Atomic() || len(failed.Refused) == 0 && (failed.Fault == FaultMessage || failed.Fault == FaultConfiguration)
	if failed.Fault != FaultConnection && nothingStored {
		return
	}
	for i := range open {
		w.doubtful[open[i].RowID] = failed.Fault
	}
}

// forgetDoubts counts the messages that are sent again because their outcome is unknown.
func (w *Worker) forgetDoubts(messages []Message) (repeats int) {
	if len(w.doubtful) == 0 {
		return 0
	}
	for i := range messages {
		if fault, doubtful := w.doubtful[messages[i].RowID]; doubtful {
			delete(w.doubtful, messages[i].RowID)
			w.Observer.Repeated(w.id, fault)
			repeats++
		}
	}
	return repeats
}

// refuse notes that the broker refused a message for itself.
func (d *sending) refuse(m Message, reason string) {
	d.worker.hold(m.Key)
	d.refused = append(d.refused, Failure{
		RowID: m.RowID, Key: m.Key, EventID: string(m.EventID), Class: ClassRefused, Reason: reason,
		Attempts: d.attempts[m.RowID] + 1,
	})
}
