package jobs

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// leaveAside takes the single suspects out of a batch. In an ordered job they hold back what comes behind them.
func (w *Worker) leaveAside(batch *Batch) {
	if len(w.aside) == 0 {
		return
	}
	batch.Rows = slices.DeleteFunc(batch.Rows, func(row Row) bool {
		_, aside := w.aside[row.ID]
		if aside {
			w.hold(row.Key)
		}
		return aside
	})
}

// tryAside sends the single suspects, one by one, when the pass has sent everything else.
func (w *Worker) tryAside(ctx, finish context.Context, outcome *Outcome) error {
	if len(w.aside) == 0 || ctx.Err() != nil {
		return nil
	}
	due, _, err := w.Failures.Due(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	w.sweep()
	clear(w.held)
	for _, id := range slices.Sorted(maps.Keys(w.aside)) {
		batch, retry := only(id, due), true
		if len(batch.Rows) == 0 {
			pending, err := w.Rows.Fetch(ctx, id)
			if err != nil {
				return stopped(ctx, err)
			}
			batch, retry = only(id, pending), false
		}
		if err := w.tryOne(finish, batch, retry, outcome); err != nil {
			return err
		}
		delete(w.aside, id)
		outcome.again = true
	}
	return nil
}

// only is the batch with the one row, or without any.
func only(id int64, batch Batch) Batch {
	batch.Rows = slices.DeleteFunc(slices.Clone(batch.Rows), func(row Row) bool { return row.ID != id })
	return batch
}

func (w *Worker) tryOne(finish context.Context, batch Batch, retry bool, outcome *Outcome) error {
	statement := w.Rows.MarkDone
	if retry {
		statement = w.Failures.Settle
	}
	done, err := w.deliver(finish, batch, &suspects{}, outcome)
	marked, markErr := w.mark(finish, done, statement)
	outcome.Done += marked
	return errors.Join(err, markErr)
}
