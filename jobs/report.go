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

// report writes the one line of a pass that did something, or that ended early.
func (w *Worker) report(ctx context.Context, outcome Outcome, err error) {
	switch {
	case err == nil:
		w.trouble.over(&w.Log, "passes work again")
	case ctx.Err() == nil || outcome.Sent > 0: // not just told to stop before it did anything
		w.trouble.tell(&w.Log, err, "pass ended early; the worker tries again")
	}
	if outcome.Fetched > 0 || outcome.Done > 0 {
		w.Log.Info().Int("fetched", outcome.Fetched).Int("sent", outcome.Sent).Int("done", outcome.Done).
			Int("failed", outcome.Failed).Int("repeated", outcome.Repeated).Dur("took_ms", outcome.Took).Msg("pass")
	}
}

// report tells of something that is tried again and again; err is the outcome of the last try.
func (t *trouble) report(log *zerolog.Logger, err error, doing string) {
	if err == nil {
		t.over(log, doing+" works again")
		return
	}
	t.tell(log, err, doing+" does not work; trying again")
}
