package chaos

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"modulo/internal/faultproxy"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// saturating keeps rows in flight all the time.
var saturating = pace{every: 20 * time.Millisecond, rows: 500, backlog: 2000}

// TestKills kills the service, the broker and the database, again and again.
func TestKills(t *testing.T) {
	t.Parallel()
	pg, database := ownDatabase(t)
	mq := testservers.OwnBroker(t)
	stage := newStage(t, database, mq)
	s := scenario{rounds: choose(1, 10), rows: 20_000, workers: 5, batch: 50, pace: saturating, limit: 3 * time.Minute}
	service := stage.start(t, append(s.args(), withShortLease(t)...)...)
	s.faults = []*fault{
		{
			name: "kill -9 of the service", times: 5, repeats: 2 * s.workers, down: 200 * time.Millisecond,
			strike: func(context.Context, *rand.Rand) error { return service.kill() },
			mend:   service.start,
		},
		{
			name: "kill -9 of the broker", times: 2, repeats: s.workers, down: 500 * time.Millisecond,
			strike: func(context.Context, *rand.Rand) error { mq.Kill(); return nil },
			mend:   mq.Start,
		},
		{ // no repeats: confirmed rows wait for their mark until it is back
			name: "kill -9 of the database", times: 2, down: 500 * time.Millisecond,
			strike: func(context.Context, *rand.Rand) error { pg.Kill(); return nil },
			mend:   pg.Start,
		},
	}
	s.play(t, stage, service)
}

// TestCuts cuts connections of the service at any byte, in either direction and in both ways that connections end.
func TestCuts(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"broker", "database"} {
		t.Run(to, func(t *testing.T) {
			stage := sharedStage(t)
			database, broker := stage.proxies(t)
			s := scenario{rounds: choose(1, 10), rows: 5_000, workers: 5, batch: 50, pace: saturating, limit: time.Minute}
			service := stage.start(t, s.args()...)
			cut := &fault{name: "cut to the " + to, times: 8, strike: cutting(database, 20_000), mend: healing(database)}
			if to == "broker" {
				cut.strike, cut.mend, cut.repeats = cutting(broker, 200), healing(broker), s.workers
			}
			s.faults = []*fault{cut}
			s.play(t, stage, service)
		})
	}
}

// cutting cuts the connection that carries a byte drawn at random, one of the next requests or of as many answers. When
// hardly anything is said any more, it cuts all of them.
func cutting(p *faultproxy.Proxy, answers int64) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, rng *rand.Rand) error {
		how := faultproxy.End(rng.IntN(2))
		var faults faultproxy.Faults
		if rng.IntN(2) == 0 {
			faults.Up.Cut = &faultproxy.Cut{After: 1 + rng.Int64N(20_000), How: how}
		} else {
			faults.Down.Cut = &faultproxy.Cut{After: 1 + rng.Int64N(answers), How: how}
		}
		p.Set(faults)
		patience, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err := programtest.Await(patience, 10*time.Millisecond, func() (bool, error) {
			up, down := p.Carried()
			return faults.Up.Cut != nil && up >= faults.Up.Cut.After || faults.Down.Cut != nil && down >= faults.Down.Cut.After, nil
		})
		if err != nil {
			p.CutAll(how)
		}
		return ctx.Err()
	}
}

func healing(p *faultproxy.Proxy) func(context.Context) error {
	return func(context.Context) error { p.Set(faultproxy.Faults{}); return nil }
}
