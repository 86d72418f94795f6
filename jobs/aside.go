package jobs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// isolation is what is known of a single suspect.
type isolation struct {
	since time.Time // when it was set aside
	lost  int       // connections lost since with nothing else under way
}

// enoughLost is how many connections a message must have cost on its own to be blamed for it. A network that breaks at
// random does not hit the same message that often.
const enoughLost = 3

// isolated are the single suspects, by row id. Safe for concurrent use: the publish stage sets rows aside while the fetch
// stage looks whether those that are due are.
type isolated struct {
	mu   sync.Mutex
	rows map[int64]isolation
}

func (i *isolated) get(id int64) (isolation, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	alone, is := i.rows[id]
	return alone, is
}

func (i *isolated) set(id int64, alone isolation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.rows == nil {
		i.rows = map[int64]isolation{}
	}
	i.rows[id] = alone
}

func (i *isolated) end(id int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.rows, id)
}

// ids returns them in order.
func (i *isolated) ids() []int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Sorted(maps.Keys(i.rows))
}

// leaveAside takes the single suspects out of a batch. In an ordered job they hold back what comes behind them.
func (w *Worker) leaveAside(batch *Batch) {
	if len(w.aside.ids()) == 0 {
		return
	}
	batch.Rows = slices.DeleteFunc(batch.Rows, func(row Row) bool {
		aside := w.isAside(row)
		if aside {
			w.hold(row.Key)
		}
		return aside
	})
}

func (w *Worker) isAside(row Row) bool {
	_, aside := w.aside.get(row.ID)
	return aside && !row.MarkOnly
}

// tryAside sends the single suspects, one by one, when the pass has sent everything else. One that is lost again stops
// none of the others.
func (w *Worker) tryAside(ctx, finish context.Context, outcome *Outcome) error {
	aside := w.aside.ids()
	if len(aside) == 0 || ctx.Err() != nil {
		return nil
	}
	w.forgetDue() // some of them are sent here
	w.sweep()
	clear(w.held)
	var lost []error
	for _, id := range aside {
		switch err := w.tryOne(ctx, finish, id, outcome); {
		case err == nil:
			w.aside.end(id)
			outcome.again = true
		case connectionLost(err):
			lost = append(lost, err)
		default:
			return errors.Join(append(lost, err)...)
		}
	}
	w.sweep() // Due may have cleared records that held rows back
	return errors.Join(lost...)
}

// tryOne sends a single suspect if it is still due or pending.
func (w *Worker) tryOne(ctx, finish context.Context, id int64, outcome *Outcome) error {
	due, _, err := w.Failures.Due(ctx, id)
	if err != nil {
		return err
	}
	if retry := only(id, due); len(retry.Rows) > 0 {
		return w.retry(finish, retry, &suspects{}, outcome)
	}
	pending, err := w.Rows.Fetch(ctx, id)
	if err != nil {
		return err
	}
	trace := w.trace(1)
	done, err := w.deliver(finish, only(id, pending), &suspects{}, outcome, trace)
	return errors.Join(err, w.markTraced(finish, done, w.Rows.MarkDone, outcome, trace))
}

// only is the batch with the one row, or without any.
func only(id int64, batch Batch) Batch {
	batch.Rows = slices.DeleteFunc(slices.Clone(batch.Rows), func(row Row) bool { return row.ID != id })
	return batch
}
