package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// errUnsettled ends a pass in which the broker turned out to hold rows of unknown outcome: the next one marks them.
var errUnsettled = errors.New("the broker holds rows that have no mark yet")

// settle connects if need be, and marks what is confirmed but has no mark: rows that an earlier pass could not mark, and
// rows that the broker recalls.
func (w *Worker) settle(ctx, finish context.Context, outcome *Outcome) error {
	if err := w.markLeftOver(finish, outcome); err != nil {
		return err
	}
	w.open.reset()
	recall, err := w.connect(ctx)
	if err != nil {
		return err
	}
	if err := w.markRecalled(ctx, finish, recall, outcome); err != nil {
		w.disconnect() // so that the broker is asked again
		return err
	}
	w.recalled = true
	return nil
}

// connect opens the connection to the broker, if need be.
func (w *Worker) connect(ctx context.Context) (Recall, error) {
	started := time.Now()
	recall, err := w.Publisher.Connect(ctx)
	w.Observer.Did(w.id, StepConnect, 0, time.Since(started), err)
	if err != nil {
		return Recall{}, fmt.Errorf("connect to the broker: %w", err)
	}
	if recall.Without != "" {
		w.Log.Warn().Str("reason", recall.Without).Msg("rows can be repeated after a crash: the broker keeps no record of what it has")
	}
	return recall, nil
}

// reconnect is connect in the middle of a pass, where nothing recalled can be marked.
func (w *Worker) reconnect(ctx context.Context) error {
	recall, err := w.connect(ctx)
	if err != nil {
		return err
	}
	if recall.Kept && slices.ContainsFunc(recall.Rows, w.doubts) {
		w.disconnect()
		return errUnsettled
	}
	return nil
}

func (w *Worker) doubts(id int64) bool {
	_, doubtful := w.doubtful[id]
	return doubtful
}

// markRecalled marks the rows that the broker turns out to hold: of this worker's own those of unknown outcome, of an
// earlier owner's all that are pending. What the broker does not recall it does not hold.
func (w *Worker) markRecalled(ctx, finish context.Context, recall Recall, outcome *Outcome) error {
	if !recall.Kept {
		return nil
	}
	var confirmed []int64
	for _, id := range recall.Rows {
		if w.doubts(id) {
			confirmed = append(confirmed, id)
		}
	}
	if w.Unsettled && !w.recalled {
		pending, err := w.Rows.Pending(ctx, recall.Rows)
		if err != nil {
			return err
		}
		confirmed = pending
	}
	if len(confirmed) > 0 {
		w.Log.Info().Int("rows", len(confirmed)).Msg("the broker holds rows whose receipt got lost; they are marked, not sent again")
	}
	clear(w.doubtful)
	return w.mark(finish, confirmed, w.Failures.Settle, outcome)
}

// Settle marks what an earlier owner may have left without a mark, and sends nothing. It tries until that is done, ctx
// ends or the lease is lost.
func (w *Worker) Settle(ctx context.Context) Rest {
	defer w.leave()
	held, cancel := w.Lease.Bind(ctx)
	defer cancel()
	faults := backoff{min: minPause, max: maxPause}
	for {
		var outcome Outcome
		finish, stop := outlive(ctx, w.Grace)
		err := guard(func() error { return w.settle(held, finish, &outcome) })
		stop()
		w.report(ctx, outcome, err)
		if err == nil || errors.Is(err, ErrFenced) || errors.Is(err, ErrMoved) || !pause(held, faults.next()) {
			return Rest{Unfinished: true, Unsettled: w.unsettled()}
		}
	}
}

// unsettled says whether the broker may hold rows that have no mark.
func (w *Worker) unsettled() bool {
	return w.Unsettled && !w.recalled || len(w.unmarked) > 0 || len(w.doubtful) > 0
}

// openMarks are the rows that are confirmed and not marked yet, in the sorted slices they come in. Safe for concurrent
// use by the stages of a pass.
type openMarks struct {
	mu   sync.Mutex
	rows inFlight
}

func (o *openMarks) begin(ids []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(ids) > 0 {
		o.rows.begin(ids)
	}
}

func (o *openMarks) end(ids []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rows.end(ids)
}

func (o *openMarks) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rows = inFlight{}
}

// with returns them and some more, as they are confirmed.
func (o *openMarks) with(more []int64) []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Concat(append(slices.Clone(o.rows.batches), more)...)
}
