package monitor

import (
	"context"
	"errors"
	"time"

	"modulo/jobs"
	"modulo/store"
)

const (
	// entrySpan is how long passes that went alike share an entry of the history.
	entrySpan = time.Minute
	// maxUnwritten bounds the entries that wait for a silent database; beyond it the oldest are given up.
	maxUnwritten = 5000
	// pruneInterval is how often old entries are removed, by an instance that writes new ones.
	pruneInterval = 10 * time.Minute
)

// past are the passes that did something, or did not work, until they are in the history. m.mu guards it.
type past struct {
	last      map[alike]*entry
	unwritten []*entry // oldest first
	lost      int      // given up
}

// alike are passes that can share an entry. Where good and bad ones alternate there are two entries at a time.
type alike struct {
	jobs.WorkerID
	result store.PassResult
}

// entry is one of the history; it may change after it was written.
type entry struct {
	store.Pass
	waits bool // is among the unwritten
}

// passed notes a pass. Those of a job at intervals share an entry with the one before, if that went alike; so do those of
// any job while they are tried again and again.
func (p *past) passed(id jobs.WorkerID, outcome jobs.Outcome, err error, now time.Time, interval bool) {
	moved := outcome.Sent > 0 || outcome.Done > 0 || outcome.Failed > 0
	if !moved && (err == nil || outcome.Stopped || errors.Is(err, context.Canceled)) { // there was nothing to do, or it was told to stop
		return
	}
	this := store.Pass{
		Job: id.Job, Number: id.Number, BeganAt: now.Add(-outcome.Took), EndedAt: now, Passes: 1, Took: outcome.Took,
		Sent: outcome.Sent, Done: outcome.Done, Failed: outcome.Failed, Repeated: outcome.Repeated, Result: store.PassComplete,
	}
	switch {
	case err != nil:
		this.Result, this.Problem = store.PassEarly, err.Error()
	case outcome.Stopped:
		this.Result, this.Problem = store.PassEarly, "told to stop: rows may be left"
	}
	kind := alike{id, this.Result}
	e := p.last[kind]
	if e == nil || now.Sub(e.BeganAt) >= entrySpan || !interval && err == nil {
		e = &entry{Pass: this}
		p.last[kind] = e
	} else {
		e.EndedAt, e.Passes, e.Took, e.Problem = now, e.Passes+1, max(e.Took, this.Took), this.Problem
		e.Sent, e.Done, e.Failed, e.Repeated = e.Sent+this.Sent, e.Done+this.Done, e.Failed+this.Failed, e.Repeated+this.Repeated
	}
	p.wait(e)
}

// missed notes passes that did not begin at their time: that of a worker, or those of workers that nobody owns. Every
// instance tells of the latter, at the same time, so that they share an entry.
func (p *past) missed(id jobs.WorkerID, passes int, at time.Time, why string) {
	if passes == 0 {
		return
	}
	p.wait(&entry{Pass: store.Pass{
		Job: id.Job, Number: id.Number, BeganAt: at, EndedAt: at, Passes: passes, Result: store.PassMissed, Problem: why,
	}})
}

func (p *past) wait(list ...*entry) {
	for _, e := range list {
		if !e.waits {
			e.waits = true
			p.unwritten = append(p.unwritten, e)
		}
	}
	for len(p.unwritten) > maxUnwritten {
		p.unwritten[0].waits = false
		p.unwritten, p.lost = p.unwritten[1:], p.lost+1
	}
}

// again lets entries that could not be written wait again, before those that came meanwhile.
func (p *past) again(entries []*entry) {
	newer := p.unwritten
	p.unwritten = nil
	for _, e := range newer {
		e.waits = false
	}
	p.wait(entries...)
	p.wait(newer...)
}

// take returns what waits, as it is now, and takes it for written.
func (p *past) take() (entries []*entry, list []store.Pass) {
	entries, p.unwritten = p.unwritten, nil
	for _, e := range entries {
		e.waits = false
		list = append(list, e.Pass)
	}
	return entries, list
}

// tellPasses writes the history, and now and then removes what is kept no longer.
func (t *teller) tellPasses(ctx context.Context) error {
	t.mu.Lock()
	entries, list := t.past.take()
	t.lost, t.past.lost = t.lost+t.past.lost, 0
	t.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	if err := t.notes.NotePasses(ctx, list); err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.past.again(entries)
		return err
	}
	if t.lost > 0 {
		t.Log.Warn().Int("entries", t.lost).Msg("the history of passes has a gap: it could not be written for too long")
		t.lost = 0
	}
	return nil
}

// prune removes what is kept no longer, every now and then, and without a pause while there is more of it than one call removes.
func (t *teller) prune(ctx context.Context) {
	if time.Since(t.pruned) < pruneInterval {
		return
	}
	call, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	more, err := t.notes.PrunePasses(call)
	if err != nil && ctx.Err() == nil {
		t.Log.Warn().Err(err).Msg("old passes are not removed from the history; trying again later")
	}
	if !more {
		t.pruned = time.Now()
	}
}
