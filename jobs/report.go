package jobs

import (
	"context"
	"errors"
	"time"
)

// troubleInterval is how often a worker repeats that its passes still fail.
const troubleInterval = 30 * time.Second

// trouble is a row of failed passes: an outage is told when it begins, now and then, and when it is over.
type trouble struct{ since, told time.Time }

// report writes the one line of a pass that did something, or that ended early.
func (w *Worker) report(ctx context.Context, outcome Outcome, err error) {
	now := time.Now()
	var panicked *panicError
	switch {
	case errors.As(err, &panicked):
		w.Log.Error().Err(err).Bytes("stack", panicked.stack).Msg("pass ended by a panic; the worker goes on")
	case err != nil && ctx.Err() != nil && outcome.Sent == 0:
		return // told to stop before it did anything
	case err != nil && w.trouble.since.IsZero():
		w.trouble = trouble{since: now, told: now}
		w.Log.Error().Err(err).Msg("pass ended early; the worker tries again")
	case err != nil && now.Sub(w.trouble.told) >= troubleInterval:
		w.trouble.told = now
		w.Log.Error().Err(err).Dur("for_ms", now.Sub(w.trouble.since)).Msg("passes still end early")
	case err != nil:
		w.Log.Debug().Err(err).Msg("pass ended early")
	case !w.trouble.since.IsZero():
		w.Log.Info().Dur("after_ms", now.Sub(w.trouble.since)).Msg("passes work again")
		w.trouble = trouble{}
	}
	if outcome.Fetched > 0 || outcome.Done > 0 {
		w.Log.Info().Int("fetched", outcome.Fetched).Int("sent", outcome.Sent).Int("done", outcome.Done).
			Int("failed", outcome.Failed).Int("repeated", outcome.Repeated).Dur("took_ms", outcome.Took).Msg("pass")
	}
}
