package jobs

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// flight is a batch on its way to the publish stage.
type flight struct {
	ids   []int64 // as fetched: in flight until they land
	batch Batch
	trace *BatchTrace
}

// delivery is a batch on its way from the publish stage to the mark stage.
type delivery struct {
	ids   []int64 // as fetched
	done  []int64 // confirmed: to be marked
	trace *BatchTrace
}

// drain runs the three stages beside each other: while batch n is marked, batch n+1 may be sent and batch n+2 fetched.
// The channels have no buffer: at most two batches are sent and not yet marked.
func (w *Worker) drain(ctx, finish context.Context) (Outcome, error) {
	fetchCtx, stopFetching := context.WithCancel(ctx)
	defer stopFetching()
	fetched, confirmed := make(chan flight), make(chan delivery)
	var fetch, publish, mark Outcome
	var fetchErr, markErr error
	var stages sync.WaitGroup
	stages.Go(func() {
		defer close(fetched)
		fetchErr = guard(func() error { return w.fetchAll(fetchCtx, fetched, &fetch) })
	})
	stages.Go(func() {
		markErr = guard(func() error { return w.markAll(finish, confirmed, &mark) })
		stopFetching()
		for d := range confirmed { // only after an error
			w.unmarked = append(w.unmarked, d.done...)
			w.land(d.ids)
			w.traced(d.trace)
		}
	})
	publishErr := guard(func() error { return w.publishAll(fetchCtx, finish, fetched, confirmed, &publish) })
	close(confirmed)
	stopFetching()
	for f := range fetched {
		w.release(f.ids)
	}
	stages.Wait()
	publish.Add(fetch)
	publish.Add(mark)
	return publish, errors.Join(fetchErr, publishErr, markErr)
}

// fetchAll fetches batches until no pending row is left, ctx ends or failed rows have become due.
func (w *Worker) fetchAll(ctx context.Context, fetched chan<- flight, outcome *Outcome) error {
	for {
		if due, err := w.lookForDue(ctx); err != nil || due {
			outcome.again, outcome.Stopped = due, ctx.Err() != nil
			return stopped(ctx, err)
		}
		f, err := w.fetch(ctx)
		if err != nil {
			outcome.Stopped = ctx.Err() != nil
			return stopped(ctx, err)
		}
		if len(f.ids) > 0 {
			select {
			case fetched <- f:
				outcome.Fetched += len(f.ids)
			case <-ctx.Done():
				w.release(f.ids)
				outcome.Stopped = true
				return nil
			}
		}
		if !f.batch.More {
			return nil
		}
	}
}

// stopped hides the error of a call that ended because ctx did.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// fetch returns the next batch without the rows that are in flight, and counts it as in flight.
func (w *Worker) fetch(ctx context.Context) (flight, error) {
	w.fetching.Lock()
	from, sweep := w.cursor.from(time.Now())
	since := w.cursor.since
	flying := w.inFlight.snapshot()
	w.fetching.Unlock()
	if sweep {
		front, err := w.Front.start(ctx, since)
		if err != nil {
			return flight{}, err
		}
		from = w.skip(front)
	}

	started := time.Now()
	batch, err := w.Rows.Fetch(ctx, from)
	now := time.Now()
	w.Observer.Did(w.id, StepFetch, len(batch.Rows), now.Sub(started), err)
	if err != nil {
		return flight{}, err
	}

	w.fetching.Lock()
	defer w.fetching.Unlock()
	w.cursor.advance(batch, now.Sub(started), now)
	if n := len(batch.Rows); n > 0 && batch.Rows[n-1].ID == math.MaxInt64 {
		batch.More = false
	}
	flying.drop(&batch)
	f := flight{ids: batch.IDs(), batch: batch}
	if len(f.ids) > 0 {
		f.trace = w.trace(len(f.ids))
		f.trace.did(StepFetch, len(f.ids), started, nil)
		w.inFlight.begin(f.ids)
	} else {
		batch.free()
	}
	return f, nil
}

// release ends the flight of a batch that was not sent: a sweep finds it again.
func (w *Worker) release(ids []int64) {
	w.land(ids)
	w.sweep()
}

// land ends the flight of a batch. Its rows are marked, parked or held back; after an error, Pass asks for a sweep.
func (w *Worker) land(ids []int64) {
	w.fetching.Lock()
	defer w.fetching.Unlock()
	w.inFlight.end(ids)
}

func (w *Worker) skip(front int64) (from int64) {
	w.fetching.Lock()
	defer w.fetching.Unlock()
	return w.cursor.skip(front)
}

func (w *Worker) sweep() {
	w.fetching.Lock()
	defer w.fetching.Unlock()
	w.cursor.sweep()
}

// publishAll sends the fetched batches one after the other and hands on what the broker confirmed. It stops at the
// first error, and before the next batch when ctx ends.
func (w *Worker) publishAll(ctx, finish context.Context, fetched <-chan flight, confirmed chan<- delivery, outcome *Outcome) error {
	for f := range fetched {
		if ctx.Err() != nil {
			w.release(f.ids)
			outcome.Stopped = true
			return nil
		}
		w.leaveAside(&f.batch)
		done, err := w.deliver(finish, f.batch, &w.suspects, outcome, f.trace)
		f.batch.free()
		w.open.begin(done)
		confirmed <- delivery{ids: f.ids, done: done, trace: f.trace}
		if err != nil {
			return err
		}
	}
	return nil
}

// markAll marks what is confirmed until the channel is closed or finish ends.
func (w *Worker) markAll(finish context.Context, confirmed <-chan delivery, outcome *Outcome) error {
	for d := range confirmed {
		err := w.markTraced(finish, d.done, w.Rows.MarkDone, outcome, d.trace)
		w.land(d.ids)
		if err != nil {
			return err
		}
		w.open.end(d.done)
	}
	return nil
}
