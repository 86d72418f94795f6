package jobs

import (
	"context"
	"sync"
	"time"
)

const (
	// nearFront is how long the walk to the first pending row may take to be no matter: then everybody walks.
	nearFront = 2 * time.Millisecond
	// The walk is repeated after 50 times its duration, as sweeps are, but not all the time, and after a minute at most.
	frontMinRest = 5 * time.Second
	frontMaxRest = sweepMaxRest
)

// Front knows where the pending rows of a job begin, for all its workers in this instance. Before them can be any number
// of dead index entries, as long as a transaction keeps an old snapshot: one of the workers walks over them now and then,
// and the others begin their sweeps where it arrived. Safe for concurrent use.
type Front struct {
	find    func(context.Context) (int64, error)
	walking chan struct{} // holds a token while a worker walks

	mu    sync.Mutex
	id    int64     // no row below it was pending
	asked time.Time // before the walk that found it; zero: there was none
	far   bool      // the walk was not short
	due   time.Time // of the next walk
}

// NewFront makes a Front of a function that returns the lowest id of a row that any worker of the job could fetch; where
// there is none, the highest id there is.
func NewFront(find func(context.Context) (int64, error)) *Front {
	return &Front{find: find, walking: make(chan struct{}, 1)}
}

// start returns an id to begin a sweep at. Rows that could be fetched at the time since are not below it. With the zero
// time that may be out of date by frontMaxRest and the duration of a walk. The front of nil is at the first id.
func (f *Front) start(ctx context.Context, since time.Time) (int64, error) {
	if f == nil {
		return FirstID, nil
	}
	if id, ok := f.known(since, true); ok {
		return id, nil
	}
	select {
	case f.walking <- struct{}{}:
		defer func() { <-f.walking }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if id, ok := f.known(since, false); ok { // found while we waited
		return id, nil
	}
	if err := f.walk(ctx); err != nil {
		return 0, err
	}
	id, _ := f.known(time.Time{}, false)
	return id, nil
}

// known is what start returns without a walk, if it can. While another worker walks, patient takes what is out of date.
func (f *Front) known(since time.Time, patient bool) (id int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.asked.IsZero(), f.far && f.asked.Before(since):
		return 0, false
	case !time.Now().Before(f.due) && (!patient || len(f.walking) == 0):
		return 0, false
	case !f.far:
		return FirstID, true
	}
	return f.id, true
}

func (f *Front) walk(ctx context.Context) error {
	asked := time.Now()
	id, err := f.find(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	took := now.Sub(asked)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id, f.asked, f.far = id, asked, took > nearFront
	f.due = now.Add(min(max(sweepRest*took, frontMinRest), frontMaxRest))
	return nil
}
