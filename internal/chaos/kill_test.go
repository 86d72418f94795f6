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
	s := scenario{rounds: programtest.ShortOrLong(1, 10), rows: 20_000, workers: 5, batch: 50, pace: saturating, limit: programtest.Patience}
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
			s := scenario{rounds: programtest.ShortOrLong(1, 10), rows: 5_000, workers: 5, batch: 50, pace: saturating, limit: programtest.Patience}
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

// cutting cuts one connection, at a byte of the next requests or of as many answers.
func cutting(p *faultproxy.Proxy, answers int64) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, rng *rand.Rand) error { return p.CutAtRandom(ctx, rng, answers) }
}

func healing(p *faultproxy.Proxy) func(context.Context) error {
	return func(context.Context) error { p.Set(faultproxy.Faults{}); return nil }
}
