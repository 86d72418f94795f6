package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
)

// troubleInterval is how often a worker repeats that its passes still fail.
const troubleInterval = 30 * time.Second

// trouble is a fault that lasts: it is told when it begins, now and then, and when it is over.
type trouble struct{ since, told time.Time }

// tell logs a fault when it begins, now and then while it lasts, and in between for debugging only.
func (t *trouble) tell(log *zerolog.Logger, err error, text string) {
	now := time.Now()
	event := log.Debug()
	switch {
	case t.since.IsZero():
		*t = trouble{since: now, told: now}
		event = log.Error()
	case now.Sub(t.told) >= troubleInterval:
		t.told = now
		event = log.Error()
	}
	if panicked, ok := errors.AsType[*panicError](err); ok {
		event = event.Bytes("stack", panicked.stack)
	}
	event.Err(err).Dur("for_ms", now.Sub(t.since)).Msg(text)
}

// over logs that the fault is gone, if there was one.
func (t *trouble) over(log *zerolog.Logger, text string) {
	if !t.since.IsZero() {
		log.Info().Dur("after_ms", time.Since(t.since)).Msg(text)
		*t = trouble{}
	}
}

// toldToStop says of a pass with an error that it was only told to stop, before it sent anything.
func toldToStop(ctx context.Context, outcome Outcome) bool {
	return ctx.Err() != nil && outcome.Sent == 0
}

// report tells of a pass that did something, or that ended early.
func (w *Worker) report(ctx context.Context, outcome Outcome, err error) {
	switch {
	case err == nil:
		w.trouble.over(&w.Log, "passes work again")
	case !toldToStop(ctx, outcome):
		w.trouble.tell(&w.Log, err, "pass ended early; the worker tries again")
	}
	if outcome.Fetched > 0 || outcome.Done > 0 {
		w.untold.Add(outcome)
		w.untoldPasses++
	}
	if time.Since(w.told) >= passInterval {
		w.tellPasses()
	}
}

// passInterval is the least time between two lines about passes of a worker: where rows come one by one, and each begins
// a pass, those of a while share a line.
const passInterval = time.Second

// tellPasses writes a line about the passes since the last one; took_ms is that of the longest.
func (w *Worker) tellPasses() {
	if w.untoldPasses == 0 {
		return
	}
	o := w.untold
	w.Log.Info().Int("passes", w.untoldPasses).Int("fetched", o.Fetched).Int("sent", o.Sent).Int("done", o.Done).
		Int("failed", o.Failed).Int("repeated", o.Repeated).Dur("took_ms", o.Took).Msg("pass")
	w.untold, w.untoldPasses, w.told = Outcome{}, 0, time.Now()
}

// report tells of something that is tried again and again; err is the outcome of the last try.
func (t *trouble) report(log *zerolog.Logger, err error, doing string) {
	if err == nil {
		t.over(log, doing+" works again")
		return
	}
	t.tell(log, err, doing+" does not work; trying again")
}
