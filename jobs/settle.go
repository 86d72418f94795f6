package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	if recall.SetBack.Transactions > 0 {
		w.tellSetBack(recall.SetBack)
	}
	return recall, nil
}

func (w *Worker) tellSetBack(lost SetBack) {
	w.Observer.SetBack(w.id, lost.Transactions)
	line := w.Log.Error().Int64("transactions", lost.Transactions).Ints64("rows", lost.Rows).Bool("all_rows", lost.All)
	if !lost.Since.IsZero() {
		line = line.Time("since", lost.Since)
	}
	line.Msg("the broker has lost messages that it had confirmed: its store is at an earlier state; what was sent since is done and will not be sent again by itself")
}

// reconnect is connect in the middle of a pass, where nothing recalled can be marked.
func (w *Worker) reconnect(ctx context.Context) error {
	recall, err := w.connect(ctx)
	if err != nil {
		return err
	}
	if !recall.Kept {
		return nil
	}
	if slices.ContainsFunc(recall.Rows, w.doubts) {
		w.disconnect()
		return errUnsettled
	}
	clear(w.doubtful) // the broker does not hold them
	return nil
}

func (w *Worker) doubts(row Delivered) bool {
	_, doubtful := w.doubtful[row.RowID]
	return doubtful
}

// markRecalled marks the rows that the broker turns out to hold: of this worker's own those of unknown outcome, of an
// earlier owner's all. What the broker does not recall it does not hold.
func (w *Worker) markRecalled(ctx, finish context.Context, recall Recall, outcome *Outcome) error {
	if !recall.Kept {
		return nil
	}
	delivered := recall.Rows
	if !w.Unsettled || w.recalled {
		delivered = slices.DeleteFunc(slices.Clone(delivered), func(row Delivered) bool { return !w.doubts(row) })
	}
	confirmed, err := w.stillPending(ctx, delivered)
	if err != nil {
		return err
	}
	clear(w.doubtful)
	if len(confirmed) == 0 {
		return nil
	}
	err = w.mark(finish, confirmed, w.Failures.Settle, outcome)
	w.sweep() // as in retry
	return err
}

// stillPending returns the ids of those rows that are pending, and whose event is the one that was delivered: an id alone
// may belong to another row by now.
func (w *Worker) stillPending(ctx context.Context, delivered []Delivered) (ids []int64, err error) {
	if len(delivered) == 0 {
		return nil, nil
	}
	events := make(map[int64]uint32, len(delivered))
	for _, row := range delivered {
		events[row.RowID] = row.Event
	}
	batch, err := w.Rows.Pending(ctx, slices.Sorted(maps.Keys(events)))
	if err != nil {
		return nil, err
	}
	messages, _ := w.builder.Build(batch) // what cannot be built was never sent
	for _, m := range messages {
		if events[m.RowID] == EventSum(m.EventID) {
			ids = append(ids, m.RowID)
		}
	}
	if len(ids) > 0 {
		w.Log.Info().Int("rows", len(ids)).Msg("the broker holds rows whose receipt got lost; they are marked, not sent again")
	}
	if others := len(batch.Rows) - len(ids); others > 0 {
		w.Log.Warn().Int("rows", others).Msg("rows have the ids of delivered ones, but other events: they are sent")
	}
	return ids, nil
}

// Settle marks what an earlier owner may have left without a mark, and sends nothing. It tries until that is done, ctx
// ends or the lease is lost.
func (w *Worker) Settle(ctx context.Context) Rest {
	defer w.leave()
	held, cancel := w.Lease.Bind(ctx)
	defer cancel()
	faults := backoff{min: minPause, max: maxPause}
	for {
		outcome, err := w.trySettle(ctx, held)
		w.report(ctx, outcome, err)
		if err == nil || errors.Is(err, ErrFenced) || errors.Is(err, ErrMoved) || !pause(held, faults.next()) {
			return Rest{Unfinished: true, Unsettled: w.unsettled()}
		}
	}
}

// settleOnce is Settle with one try; its error says why that did not work.
func (w *Worker) settleOnce(ctx context.Context) (Rest, error) {
	defer w.leave()
	held, cancel := w.Lease.Bind(ctx)
	defer cancel()
	_, err := w.trySettle(ctx, held)
	return Rest{Unfinished: true, Unsettled: w.unsettled()}, err
}

// trySettle settles once. held is ctx under the lease; marks may outlive both by the grace.
func (w *Worker) trySettle(ctx, held context.Context) (outcome Outcome, err error) {
	finish, stop := outlive(ctx, w.Grace)
	defer stop()
	err = guard(func() error { return w.settle(held, finish, &outcome) })
	return outcome, err
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
