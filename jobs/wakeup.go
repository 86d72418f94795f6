package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Wakeups tells of inserted rows as soon as they are committed, for the jobs that listen. It only spares the wait for
// the clock: what it misses, the clock finds. Its methods run beside each other.
type Wakeups interface {
	// Announce sees to it that inserts into the tables of the jobs are announced. Its error says what a person has to
	// do, or that the database could not be asked.
	Announce(ctx context.Context) error

	// Listen calls inserted with a job into whose table rows were inserted, and before that listening, once it is
	// certain that it hears of inserts. It returns when that is no longer certain. The calls must not block and may
	// come from different goroutines.
	Listen(ctx context.Context, listening func(), inserted func(job string)) error
}

const (
	minListenPause = time.Second // after a failure to announce or to listen
	maxListenPause = time.Minute
	// wakeRest is how long wake-ups of a job rest after one, per worker of this instance: all of them together fetch
	// at most once per wakeRest, however many rows come.
	wakeRest = time.Millisecond
)

// hearing is whether inserts are announced, and listened for: only both together wake workers.
type hearing struct {
	tell func(is bool)

	mu                   sync.Mutex
	announced, listening bool
}

// announces notes that inserts are announced.
func (h *hearing) announces() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.announced = true
	h.tell(h.listening)
}

// listens notes whether it is certain that announcements arrive.
func (h *hearing) listens(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listening = is
	h.tell(h.announced && is)
}

// announce tries until it has succeeded, or ctx ends.
func (s *Service) announce(ctx context.Context, ears *hearing) {
	outage := clockOnly{log: &s.Log}
	for pace := (backoff{min: minListenPause, max: maxListenPause}); ctx.Err() == nil; pause(ctx, pace.next()) {
		err := s.Wakeups.Announce(ctx)
		if err == nil {
			ears.announces()
			outage.over("inserts are announced")
			return
		}
		outage.begin(ctx, err, "inserts are not announced: only the clock begins passes")
	}
}

// listen wakes workers until ctx ends. Rows may have come unheard before it listens, so that wakes all.
func (s *Service) listen(ctx context.Context, ears *hearing) {
	var ringing sync.WaitGroup
	defer ringing.Wait()
	bells := map[string]chan struct{}{}
	for _, c := range s.crews {
		if c.job.Listen {
			bell := make(chan struct{}, 1)
			bells[c.job.Name] = bell
			ringing.Go(func() { c.obey(ctx, bell) })
		}
	}
	inserted := func(job string) {
		select {
		case bells[job] <- struct{}{}:
		default: // it rings already
		}
	}
	outage := clockOnly{log: &s.Log}
	for pace := (backoff{min: minListenPause, max: maxListenPause}); ctx.Err() == nil; pause(ctx, pace.next()) {
		err := s.Wakeups.Listen(ctx, func() {
			pace.reset()
			ears.listens(true)
			outage.over("listening for inserts")
			for job := range bells {
				inserted(job)
			}
		}, inserted)
		ears.listens(false)
		outage.begin(ctx, err, "not listening for inserts: only the clock begins passes")
	}
}

// obey triggers the workers when the bell rings, until ctx ends.
func (c *crew) obey(ctx context.Context, bell <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-bell:
		}
		c.trigger()
		pause(ctx, time.Duration(c.size())*wakeRest)
	}
}

// clockOnly is a time without wake-ups: its begin and its end are told, and in between for debugging only.
type clockOnly struct {
	log  *zerolog.Logger
	told bool
}

func (o *clockOnly) begin(ctx context.Context, err error, text string) {
	level := zerolog.WarnLevel
	if o.told {
		level = zerolog.DebugLevel
	}
	if ctx.Err() == nil {
		o.log.WithLevel(level).Err(err).Msg(text)
		o.told = true
	}
}

func (o *clockOnly) over(text string) {
	o.log.Info().Msg(text)
	o.told = false
}
