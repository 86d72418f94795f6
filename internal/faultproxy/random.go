package faultproxy

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	requests   = 20_000                // bytes among which a random cut of the way up is drawn
	cutWithin  = time.Second           // else hardly anything is said any more
	lookForCut = 10 * time.Millisecond // between two looks
)

// CutAtRandom cuts the connection that carries a byte drawn at random, by FIN or RST: one of the next requests, or of so
// many bytes of answers. When hardly anything is said any more, it cuts all connections. It returns once that is done,
// and replaces the faults.
func (p *Proxy) CutAtRandom(ctx context.Context, rng *rand.Rand, answers int64) error {
	how := End(rng.IntN(2))
	var faults Faults
	if rng.IntN(2) == 0 {
		faults.Up.Cut = &Cut{After: 1 + rng.Int64N(requests), How: how}
	} else {
		faults.Down.Cut = &Cut{After: 1 + rng.Int64N(answers), How: how}
	}
	p.Set(faults)
	patience, cancel := context.WithTimeout(ctx, cutWithin)
	defer cancel()
	look := time.NewTicker(lookForCut)
	defer look.Stop()
	for p.cutting() {
		select {
		case <-look.C:
		case <-patience.Done():
			p.CutAll(how)
			return context.Cause(ctx)
		}
	}
	return context.Cause(ctx)
}

// cutting says whether a cut is still to come.
func (p *Proxy) cutting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults.Up.Cut != nil || p.faults.Down.Cut != nil
}
