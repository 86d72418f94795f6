package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"modulo/internal/programtest"
)

// fault is a way to break something, and to mend it.
type fault struct {
	name    string
	times   int           // per round
	repeats int           // batches that may be sent again because of it
	down    time.Duration // at most, from strike to mend
	strike  func(context.Context, *rand.Rand) error
	mend    func(context.Context) error
}

// moment is when faults strike: once so many rows are done, and a little later.
type moment struct {
	done   int
	later  time.Duration
	faults []*hit
}

// hit is one strike of a fault.
type hit struct {
	fault *fault
	down  time.Duration
	rng   *rand.Rand // for what the strike draws

	inFlight int           // rows pending when it struck
	back     time.Duration // from mend to the next row done
}

const (
	together  = 5                     // one moment in so many has a further fault
	maxLater  = 40 * time.Millisecond // longer than a batch takes, so that each of its steps can be hit
	lastShare = 0.9                   // of the rows by which the last fault strikes
)

// draw spreads the faults over the next rows after so many are done, in random order. Some strike while another lasts.
func draw(rng *rand.Rand, faults []*fault, done, rows int) []*moment {
	var hits []*hit
	for _, f := range faults {
		for range f.times {
			hits = append(hits, &hit{fault: f, down: programtest.UpTo(rng, f.down), rng: rand.New(rand.NewPCG(rng.Uint64(), 0))})
		}
	}
	rng.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
	var moments []*moment
	for _, h := range hits {
		if n := len(moments); n > 0 && len(moments[n-1].faults) == 1 && moments[n-1].faults[0].fault != h.fault && rng.IntN(together) == 0 {
			moments[n-1].faults = append(moments[n-1].faults, h)
			continue
		}
		moments = append(moments, &moment{later: programtest.UpTo(rng, maxLater), faults: []*hit{h}})
	}
	for i, m := range moments {
		m.done = done + int(lastShare*float64(rows)*(float64(i)+rng.Float64())/float64(len(moments)))
	}
	return moments
}

// storm lets the faults strike while the load's rows are in flight.
func storm(ctx context.Context, l *load, moments []*moment) error {
	for _, m := range moments {
		if err := l.awaitDone(ctx, m.done); err != nil {
			return err
		}
		if err := programtest.Pause(ctx, m.later); err != nil {
			return err
		}
		problems := make([]error, len(m.faults))
		var striking sync.WaitGroup
		for i, h := range m.faults {
			striking.Go(func() { problems[i] = h.strike(ctx, l) })
		}
		striking.Wait()
		if err := errors.Join(problems...); err != nil {
			return err
		}
		if err := m.awaitReturn(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (h *hit) strike(ctx context.Context, l *load) error {
	_, h.inFlight = l.progress()
	if err := h.fault.strike(ctx, h.rng); err != nil {
		return fmt.Errorf("%s: %w", h.fault.name, err)
	}
	if err := programtest.Pause(ctx, h.down); err != nil {
		return err
	}
	if err := h.fault.mend(ctx); err != nil {
		return fmt.Errorf("mending %s: %w", h.fault.name, err)
	}
	return nil
}

// awaitReturn waits until rows get done again, or none is left.
func (m *moment) awaitReturn(ctx context.Context, l *load) error {
	began, before := time.Now(), l.done()
	err := programtest.Await(ctx, 10*time.Millisecond, func() (bool, error) {
		_, pending := l.progress()
		return l.done() > before || pending == 0, nil
	})
	for _, h := range m.faults {
		h.back = time.Since(began)
	}
	return err
}

func (l *load) awaitDone(ctx context.Context, done int) error {
	return programtest.Await(ctx, 10*time.Millisecond, func() (bool, error) { return l.done() >= done, nil })
}
