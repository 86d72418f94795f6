package jobs

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"
)

// dueInterval is how often a worker asks for failed rows whose next attempt has come.
const dueInterval = time.Second

// lookForDue asks now and then for failed rows whose next attempt has come; true if there is something to do.
func (w *Worker) lookForDue(ctx context.Context) (bool, error) {
	if time.Since(w.dueLooked) < dueInterval {
		return false, nil
	}
	return w.readDue(ctx, FirstID)
}

// readDue reads the next batch of due rows into w.due, if there is one worth looking at.
func (w *Worker) readDue(ctx context.Context, from int64) (bool, error) {
	due, cleared, err := w.Failures.Due(ctx, from)
	if err != nil {
		return false, err
	}
	w.dueLooked, w.due = time.Now(), due
	if cleared > 0 {
		w.sweep()
	}
	if !due.More && !slices.ContainsFunc(due.Rows, func(row Row) bool { return !w.isAside(row) }) {
		w.due = Batch{} // suspects have their turn when all else is sent
	}
	return cleared > 0 || len(w.due.Rows) > 0 || w.due.More, nil
}

// forgetDue drops what was read of the due rows: it is out of date.
func (w *Worker) forgetDue() { w.due, w.dueLooked = Batch{}, time.Time{} }

// retryDue tries the failed rows whose next attempt has come and marks those that only need their mark. Nothing else
// is in flight meanwhile, and a sweep follows, so that the rows held back behind them come in order.
func (w *Worker) retryDue(ctx, finish context.Context, outcome *Outcome) error {
	if len(w.due.Rows) == 0 && !w.due.More {
		if _, err := w.lookForDue(ctx); err != nil {
			return stopped(ctx, err)
		}
	}
	from := int64(FirstID)
	for ctx.Err() == nil && (len(w.due.Rows) > 0 || w.due.More) {
		due := w.due
		w.due = Batch{}
		if n := len(due.Rows); n > 0 {
			from = next(due.Rows[n-1].ID)
		}
		outcome.Fetched += len(due.Rows)
		clear(w.held) // what has failed has its record by now
		w.sweep()
		w.leaveAside(&due)
		if err := w.retry(finish, due, &w.retried, outcome); err != nil {
			return err
		}
		if !due.More || from == math.MaxInt64 {
			return nil
		}
		if _, err := w.readDue(ctx, from); err != nil {
			return stopped(ctx, err)
		}
	}
	return nil
}

// retry sends failed rows again, marks them done and removes their records.
func (w *Worker) retry(finish context.Context, due Batch, under *suspects, outcome *Outcome) error {
	var settle []int64
	for _, row := range due.Rows {
		if row.MarkOnly {
			settle = append(settle, row.ID)
		}
	}
	due.Rows = slices.DeleteFunc(due.Rows, func(row Row) bool { return row.MarkOnly })
	trace := w.trace(len(due.Rows))
	done, err := w.deliver(finish, due, under, outcome, trace)
	settle = append(settle, done...)
	slices.Sort(settle)
	err = errors.Join(err, w.markTraced(finish, settle, w.Failures.Settle, outcome, trace))
	w.sweep() // what was held back behind them was not there for a walk to the front that began before
	return err
}
