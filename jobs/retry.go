package jobs

import (
	"context"
	"errors"
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
	due, cleared, err := w.Failures.Due(ctx)
	if err != nil {
		return false, err
	}
	w.dueLooked, w.due = time.Now(), due
	if cleared > 0 {
		w.sweep()
	}
	return cleared > 0 || len(due.Rows) > 0, nil
}

// retryDue tries the failed rows whose next attempt has come and marks those that only need their mark. Nothing else
// is in flight meanwhile, and a sweep follows, so that the rows held back behind them come in order.
func (w *Worker) retryDue(ctx, finish context.Context, outcome *Outcome) error {
	for ctx.Err() == nil {
		if len(w.due.Rows) == 0 {
			if _, err := w.lookForDue(ctx); err != nil || len(w.due.Rows) == 0 {
				return err
			}
		}
		due := w.due
		w.due = Batch{}
		w.sweep()
		if err := w.retry(finish, due, outcome); err != nil {
			return err
		}
		if due.More {
			w.dueLooked = time.Time{}
		}
	}
	return nil
}

func (w *Worker) retry(finish context.Context, due Batch, outcome *Outcome) error {
	outcome.Fetched += len(due.Rows)
	var settle []int64
	for _, row := range due.Rows {
		if row.MarkOnly {
			settle = append(settle, row.ID)
		}
	}
	due.Rows = slices.DeleteFunc(due.Rows, func(row Row) bool { return row.MarkOnly })
	w.leaveAside(&due)
	done, err := w.deliver(finish, due, &w.retried, outcome)
	settle = append(settle, done...)
	slices.Sort(settle)
	marked, markErr := w.mark(finish, settle, w.Failures.Settle)
	outcome.Done += marked
	return errors.Join(err, markErr)
}
