package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// markStatement is Rows.MarkDone or Failures.Settle.
type markStatement func(ctx context.Context, ids []int64) error

// mark runs a done statement for confirmed rows until it has worked: after a receipt the mark must not get lost while
// the database is away. Rows that are not marked when finish ends, or a panic comes, are kept in w.unmarked.
func (w *Worker) mark(finish context.Context, ids []int64, statement markStatement, outcome *Outcome) error {
	if len(ids) == 0 {
		return nil
	}
	err := guard(func() error { return w.markUntil(finish, ids, statement, outcome) })
	if err != nil {
		w.unmarked = append(w.unmarked, ids...)
		return fmt.Errorf("%d confirmed rows are not marked: %w", len(ids), err)
	}
	return nil
}

// markTraced is mark as the last step of a batch.
func (w *Worker) markTraced(finish context.Context, ids []int64, statement markStatement, outcome *Outcome, trace *BatchTrace) error {
	began := time.Now()
	err := w.mark(finish, ids, statement, outcome)
	if len(ids) > 0 {
		trace.did(StepMark, len(ids), began, err)
	}
	w.traced(trace)
	return err
}

func (w *Worker) markUntil(finish context.Context, ids []int64, statement markStatement, outcome *Outcome) error {
	pace := backoff{min: minPause, max: maxPause}
	var waiting trouble
	for {
		started := time.Now()
		refused, err := markOnce(finish, ids, statement)
		took := time.Since(started)
		if err == nil {
			err = w.park(finish, refused, outcome)
		}
		w.Observer.Did(w.id, StepMark, len(ids)-len(refused), took, err)
		if err == nil {
			outcome.Done += len(ids) - len(refused)
			waiting.over(&w.Log, "confirmed rows have got their mark")
			return nil
		}
		if errors.Is(err, ErrFenced) || errors.Is(err, ErrMoved) {
			return err // of a row that cannot be marked: the new owner finds that out; or of one that is not the same any more
		}
		waiting.tell(&w.Log, err, "confirmed rows wait for their mark")
		if !pause(finish, pace.next()) {
			return err
		}
	}
}

// markOnce marks the rows. Where the database refuses because of a row, it finds that one by halving, marks the others
// and returns it.
func markOnce(ctx context.Context, ids []int64, statement markStatement) (refused []Failure, err error) {
	err = statement(ctx, ids)
	cause, isRefused := errors.AsType[*MarkRefused](err)
	switch {
	case !isRefused:
		return nil, err
	case len(ids) == 1:
		return []Failure{{RowID: ids[0], Class: ClassUnmarkable, Reason: cause.Err.Error(), Attempts: 1, Delivered: true}}, nil
	}
	for _, half := range [][]int64{ids[:len(ids)/2], ids[len(ids)/2:]} {
		more, err := markOnce(ctx, half, statement)
		if err != nil {
			return nil, err
		}
		refused = append(refused, more...)
	}
	return refused, nil
}

// markLeftOver marks what an earlier pass could not, before anything new is fetched.
func (w *Worker) markLeftOver(finish context.Context, outcome *Outcome) error {
	ids := slices.Sorted(slices.Values(w.unmarked))
	w.unmarked = nil
	if len(ids) == 0 {
		return nil
	}
	err := w.mark(finish, ids, w.Rows.MarkDone, outcome)
	w.sweep() // as in retry: one that cannot be marked holds its key no more
	return err
}
