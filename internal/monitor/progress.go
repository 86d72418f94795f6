package monitor

import (
	"context"
	"slices"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// What workers have done is told to all instances every progressInterval; of one that does nothing every idleInterval.
const (
	progressInterval = 5 * time.Second
	idleInterval     = 15 * time.Second
	progressTimeout  = 5 * time.Second
)

// tally is what a worker has to tell.
type tally struct {
	done     int64 // rows since the last note
	moving   bool  // the last note told of a rate
	pass     jobs.Outcome
	passAt   time.Time
	problem  string
	untold   bool // the problem
	notedAt  time.Time
	eventful bool // a pass since the last note did something
}

// passed notes a pass. Of a job with passes all the time only those that did something, or did not work, are worth a note.
func (t *tally) passed(outcome jobs.Outcome, err error, always bool) {
	eventful := outcome.Fetched > 0 || outcome.Done > 0
	if always || eventful || err != nil {
		t.pass, t.passAt = outcome, time.Now()
	}
	t.eventful = t.eventful || eventful
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	t.untold = t.untold || problem != t.problem
	t.problem = problem
}

// parting is what nobody has been told yet of a worker that is no longer of this instance.
type parting struct {
	done     int64
	progress time.Time
}

// part gives a worker up; what it has not told yet is kept. m.mu is held.
func (j *job) part(number int) {
	w := j.workers[number]
	delete(j.workers, number)
	j.keep(number, parting{w.tally.done, w.progress})
}

// keep adds to what is still to be told: a worker can come and go several times between two notes. m.mu is held.
func (j *job) keep(number int, p parting) {
	if p.done == 0 {
		return
	}
	before := j.parted[number]
	if before.progress.After(p.progress) {
		p.progress = before.progress
	}
	p.done += before.done
	j.parted[number] = p
}

// Notes takes notes of progress and passes for all instances to see: a *store.DB.
type Notes interface {
	NoteProgress(ctx context.Context, list []store.WorkerProgress) error
	NotePasses(ctx context.Context, list []store.Pass) error
	PrunePasses(ctx context.Context) (more bool, err error)
}

// teller writes down what a monitor has noted. Not safe for concurrent use.
type teller struct {
	*Monitor
	notes  Notes
	noting []store.WorkerProgress // taken to be written; after an error it is not known whether they were
	lost   int                    // entries of the history that were given up since the last that was written
	pruned time.Time              // when old passes were removed last
}

// table is one that is written to: a right that is missing on it must not cost the notes in another.
type table struct {
	write   func(context.Context) error
	old     string // what others see that is old then
	failing bool   // the last try did not work
}

// Tell writes down how far the workers of this instance are and what their passes did, until ctx ends, and then once more,
// for which it takes as long as patience: a silent database must not hold up the end.
func (m *Monitor) Tell(ctx context.Context, notes Notes, patience time.Duration) {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	t := &teller{Monitor: m, notes: notes}
	tables := []*table{{write: t.tellProgress, old: "rates and last progress"}, {write: t.tellPasses, old: "the history of passes"}}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			t.tell(ctx, progressTimeout, tables)
			t.prune(ctx)
		}
	}
	tables = slices.DeleteFunc(tables, func(to *table) bool { return to.failing })
	ctx = context.WithoutCancel(ctx)
	last, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t.tell(ctx, patience, tables)
	if t.pruned.IsZero() { // a process that ends sooner, again and again, must not let the history grow
		t.prune(last)
	}
}

// tell writes what is due. What cannot be written is told with the next notes.
func (t *teller) tell(ctx context.Context, timeout time.Duration, tables []*table) {
	call, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, to := range tables {
		err := to.write(call)
		ended := ctx.Err() != nil // one that the end cut short is tried once more
		if err != nil && !to.failing && !ended {
			t.Log.Warn().Err(err).Str("old", to.old).Msg("progress is not noted; what others see is old")
		}
		to.failing = err != nil && !ended
	}
}

// tellProgress first repeats, just as they were, notes that may not have been written: so each of them counts once.
func (t *teller) tellProgress(ctx context.Context) error {
	if err := t.noteProgress(ctx); err != nil {
		return err
	}
	t.noting = t.due(time.Now())
	return t.noteProgress(ctx)
}

func (t *teller) noteProgress(ctx context.Context) error {
	if len(t.noting) == 0 {
		return nil
	}
	if err := t.notes.NoteProgress(ctx, t.noting); err != nil {
		return err
	}
	t.noting = nil
	return nil
}

// due returns the notes that are due and takes them for written.
func (m *Monitor) due(now time.Time) []store.WorkerProgress {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []store.WorkerProgress
	for name, j := range m.jobs {
		for number, parted := range j.parted {
			if current := j.workers[number]; current != nil {
				current.tally.done += parted.done
			} else {
				list = append(list, store.WorkerProgress{Job: name, Number: number, Done: parted.done, ProgressAt: parted.progress})
			}
		}
		clear(j.parted)
		for number, w := range j.workers {
			if w.tally.due(now) {
				list = append(list, w.note(name, number, now))
			}
		}
	}
	return list
}

func (t *tally) due(now time.Time) bool {
	return t.done > 0 || t.moving || t.eventful || t.untold || now.Sub(t.notedAt) >= idleInterval
}

func (w *worker) note(job string, number int, now time.Time) store.WorkerProgress {
	t := &w.tally
	p := store.WorkerProgress{
		Job: job, Number: number, Done: t.done, ProgressAt: w.progress, PassAt: t.passAt, PassTook: t.pass.Took,
		PassDone: t.pass.Done, PassFailed: t.pass.Failed, Problem: t.problem,
	}
	if since := now.Sub(t.notedAt); !t.notedAt.IsZero() && since > 0 {
		p.Rate = float64(t.done) / since.Seconds()
	}
	t.moving, t.done, t.eventful, t.untold, t.notedAt = p.Rate > 0, 0, false, false, now
	return p
}
