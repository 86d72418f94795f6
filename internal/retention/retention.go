// Package retention removes old rows in the background: seldom, in small batches, and never while the workers have a lot
// to do.
package retention

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"modulo/store"
)

// Pace of the work. A tenth of one connection's time is the most it takes.
const (
	minPause      = 200 * time.Millisecond // between batches
	restShare     = 9                      // a batch is followed by a pause of so many times its duration
	jitterShare   = 10                     // of an interval, so that instances do not meet
	closePatience = 500 * time.Millisecond // for the goodbye to the database
)

// Sweep removes one kind of rows, batch by batch: a *store.Sweep.
type Sweep interface {
	Kind() string
	Step(ctx context.Context) (store.SweepStep, error)
	Close(ctx context.Context)
}

// Observer is told what was removed.
type Observer interface {
	Removed(kind string, rows int)
}

// Config says what is removed, and when not.
type Config struct {
	Sweeps []Sweep
	// Busy says why now is a bad time; empty: it is not.
	Busy     func(ctx context.Context) (why string, err error)
	Interval time.Duration // between rounds
	Observer Observer      // optional
	Log      zerolog.Logger
}

// Run removes old rows until ctx ends. Whatever goes wrong is logged and tried again in the next round: nothing depends on
// it.
func Run(ctx context.Context, cfg Config) {
	defer func() {
		goodbye, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
		defer cancel()
		for _, sweep := range cfg.Sweeps {
			sweep.Close(goodbye)
		}
	}()
	failing := map[Sweep]bool{}
	for pause(ctx, cfg.Interval+rand.N(cfg.Interval/jitterShare)) {
		for _, sweep := range cfg.Sweeps {
			err := cfg.round(ctx, sweep)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !failing[sweep] {
				cfg.Log.Warn().Err(err).Msg("retention: old rows stay; it is tried again")
			}
			failing[sweep] = err != nil
		}
	}
}

// round removes what is old, until nothing is left or the workers need the database.
func (cfg *Config) round(ctx context.Context, sweep Sweep) (err error) {
	began, removed, why := time.Now(), 0, ""
	defer func() {
		if removed > 0 {
			cfg.Log.Info().Str("kind", sweep.Kind()).Int("rows", removed).Dur("took_ms", time.Since(began)).Str("gave_way", why).Msg("retention: old rows removed")
		}
	}()
	for {
		stepped := time.Now()
		if why, err = cfg.Busy(ctx); err != nil || why != "" {
			return err
		}
		step, err := sweep.Step(ctx)
		if err != nil {
			return err
		}
		removed += step.Removed
		if cfg.Observer != nil && step.Removed > 0 {
			cfg.Observer.Removed(sweep.Kind(), step.Removed)
		}
		if step.Rests || !pause(ctx, max(minPause, restShare*time.Since(stepped))) {
			return nil
		}
	}
}

// pause waits; it reports false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
