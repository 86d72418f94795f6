package jobs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// crew is the workers of one job that run in this instance.
type crew struct {
	job       *Job
	newWorker NewWorkerFunc
	lookout   *lookout // nil: every trigger is passed on
	log       zerolog.Logger

	mu        sync.Mutex     // the clock triggers from goroutines of its own
	inherited map[Shard]Rest // of the workers owned, from their last owners
	runners   map[int]*runner

	state     JobState // as of the last tick
	known     bool     // there was a tick
	unowned   time.Time
	triggered int64
}

// runner is a worker in its goroutine.
type runner struct {
	owned    Owned
	settles  bool // and does nothing else
	triggers chan struct{}
	stop     context.CancelFunc
	ended    chan struct{} // closed when the worker has returned, after owned.Rest was set
}

func newCrew(job *Job, newWorker NewWorkerFunc, waiting Waiting, log zerolog.Logger) *crew {
	return &crew{
		job: job, newWorker: newWorker, lookout: newLookout(job, waiting), runners: map[int]*runner{},
		log: log.With().Str("job", job.Name).Logger(),
	}
}

func (r *runner) hasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// trigger begins a pass of every worker. A trigger that comes during a pass is kept, a second one is dropped.
func (c *crew) trigger() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.runners {
		r.trigger()
	}
}

func (r *runner) trigger() {
	select {
	case r.triggers <- struct{}{}:
	default:
	}
}

// apply starts and stops workers as a tick wants it, and returns those that have stopped and are to be released. ctx
// ends when the service stops. It reports false if a worker runs that the instance does not own: then nothing that the
// instance believes can be trusted. When the database has moved, every worker begins anew, and goes on meanwhile only if
// this instance is the one that ran it.
func (c *crew) apply(ctx context.Context, m *membership, state JobState, moved bool) (released []Owned, trusted bool, err error) {
	c.tell(state)
	c.mu.Lock()
	defer c.mu.Unlock()
	for number, r := range c.runners {
		if !slices.ContainsFunc(state.Owned, func(o Owned) bool { return o.Shard == r.owned.Shard }) {
			c.log.Error().Int("worker", number).Int64("epoch", r.owned.Epoch).Msg("worker was taken away; its lease is given up")
			return nil, false, nil
		}
	}
	c.inherit(state.Owned)
	for _, owned := range state.Owned {
		r := c.runners[owned.Number]
		phase := r.phase()
		if phase == phaseEnded {
			owned.Rest = r.owned.Rest
		}
		switch state.decide(owned, phase, ctx.Err() != nil, moved) {
		case actionStop:
			r.stop()
		case actionStart:
			if err := c.start(ctx, m, owned); err != nil {
				return nil, true, err
			}
		case actionRelease:
			delete(c.runners, owned.Number)
			released = append(released, owned)
		}
	}
	if c.known && state.Triggered != c.triggered {
		for _, r := range c.runners {
			r.trigger()
		}
	}
	c.known, c.triggered = true, state.Triggered
	return released, true, nil
}

// phase is where a worker of this instance stands.
type phase int

const (
	phaseNone     phase = iota // not started
	phaseRunning               // passes
	phaseSettling              // settles, and does nothing else
	phaseEnded                 // has returned
)

// phase of nil is phaseNone.
func (r *runner) phase() phase {
	switch {
	case r == nil:
		return phaseNone
	case r.hasEnded():
		return phaseEnded
	case r.settles:
		return phaseSettling
	}
	return phaseRunning
}

// action is what a tick does with a worker.
type action int

const (
	actionNone action = iota
	actionStart
	actionStop
	actionRelease
)

// decide says what to do with a worker of the job that stands in this phase. stopping: the service is told to stop; moved:
// the database is another server than before.
func (s JobState) decide(worker Owned, phase phase, stopping, moved bool) action {
	rests := worker.GiveBack || s.Paused || stopping
	settles := worker.GiveBack && s.Next != 0 && worker.Unsettled && worker.Open && !s.Hold && !stopping
	switch {
	case phase == phaseRunning && (rests || moved), phase == phaseSettling && moved:
		return actionStop
	case phase == phaseRunning, phase == phaseSettling:
		return actionNone
	case phase == phaseNone && settles:
		return actionStart
	case worker.GiveBack:
		return actionRelease
	case rests:
		return actionNone
	case phase == phaseNone && s.Hold:
		return actionRelease // somebody may have run it since: it needs an epoch of its own
	}
	return actionStart
}

// inherit gives each worker what its last owner left: the tick that takes a worker tells, later ones know only that it has
// an owner now.
func (c *crew) inherit(owned []Owned) {
	left := make(map[Shard]Rest, len(owned))
	for i := range owned {
		o := &owned[i]
		if rest, known := c.inherited[o.Shard]; known {
			o.Rest = rest
		}
		left[o.Shard] = o.Rest
	}
	c.inherited = left
}

// start runs a worker; one that is to be given back only settles. At intervals it begins with a pass; by a cron
// expression only if the last owner left one unfinished. c.mu is held.
func (c *crew) start(ctx context.Context, m *membership, owned Owned) error {
	worker, err := c.newWorker(c.job, owned, m.lease)
	if err != nil {
		return fmt.Errorf("worker %d/%d of job %s: %w", owned.Number, owned.Of, c.job.Name, err)
	}
	ctx, stop := context.WithCancel(ctx)
	r := &runner{owned: owned, settles: owned.GiveBack, triggers: make(chan struct{}, 1), stop: stop, ended: make(chan struct{})}
	if owned.Unfinished || c.job.Schedule.Cron == "" {
		r.trigger()
	}
	c.runners[owned.Number] = r
	m.working.Go(func() {
		defer m.wake()
		defer close(r.ended)
		defer stop()
		if r.settles {
			r.owned.Rest = worker.Settle(ctx)
		} else {
			r.owned.Rest = worker.Run(ctx, r.triggers)
		}
	})
	c.log.Debug().Int("worker", owned.Number).Int("of", owned.Of).Int64("epoch", owned.Epoch).Msg("worker starts")
	return nil
}

// running says whether a worker has not ended yet.
func (c *crew) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.runners {
		if !r.hasEnded() {
			return true
		}
	}
	return false
}

// size is the number of workers that were started and not released yet.
func (c *crew) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.runners)
}

// forget drops the runners of a membership that is over.
func (c *crew) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.runners)
	clear(c.inherited)
}

// unownedPatience is how many ticks workers may be without an owner before that is told.
const unownedPatience = 5

// tell logs what has changed since the last tick.
func (c *crew) tell(state JobState) {
	before := c.state
	c.state = state
	owned := func(s JobState) int {
		return len(slices.DeleteFunc(slices.Clone(s.Owned), func(o Owned) bool { return o.GiveBack }))
	}
	if owned(before) != owned(state) || before.Workers != state.Workers || before.Paused != state.Paused || before.Next != state.Next {
		c.log.Info().Int("owned", owned(state)).Int("workers", state.Workers).Int("changing_to", state.Next).
			Bool("paused", state.Paused).Msg("workers of this instance")
	}
}

// tellUnowned warns, now and then, of workers that nobody takes.
func (c *crew) tellUnowned(state JobState, patience time.Duration) {
	now := time.Now()
	switch {
	case state.Unowned == 0 || state.Next != 0 || state.Hold:
		c.unowned = time.Time{}
	case c.unowned.IsZero():
		c.unowned = now.Add(patience)
	case now.After(c.unowned):
		c.unowned = now.Add(troubleInterval)
		text := "workers have no owner: their rows wait; start more instances or raise --max-workers"
		if state.Reserved == state.Unowned {
			text = "workers have no owner yet: another instance has a share in them; if it is dead, they are taken over when its lease is over"
		}
		c.log.Warn().Int("unowned", state.Unowned).Int("reserved", state.Reserved).Int("workers", state.Workers).Msg(text)
	}
}
