package retention

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"modulo/store"
)

// sweep has so many rows to remove, and notes when each batch began.
type sweep struct {
	left   int
	took   time.Duration
	err    error
	began  []time.Time
	closed bool
}

const batch = 100

func (s *sweep) Kind() string { return "done" }

func (s *sweep) Step(context.Context) (store.SweepStep, error) {
	s.began = append(s.began, time.Now())
	time.Sleep(s.took)
	if s.err != nil {
		return store.SweepStep{Rests: true}, s.err
	}
	removed := min(batch, s.left)
	s.left -= removed
	return store.SweepStep{Removed: removed, Rests: s.left == 0}, nil
}

func (s *sweep) Close(context.Context) { s.closed = true }

type counter map[string]int

func (c counter) Removed(kind string, rows int) { c[kind] += rows }

// run is Run for a time.
func run(t *testing.T, cfg Config, d time.Duration) (log string) {
	t.Helper()
	var text bytes.Buffer
	cfg.Log, cfg.Interval = zerolog.New(&text), time.Minute
	if cfg.Busy == nil {
		cfg.Busy = func(context.Context) (string, error) { return "", nil }
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	Run(ctx, cfg)
	return text.String()
}

// A slow batch is followed by a pause that is nine times as long, and the end of all is told once.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, counts := &sweep{left: 1000, took: 200 * time.Millisecond}, counter{}
		log := run(t, Config{Sweeps: []Sweep{s}, Observer: counts}, 2*time.Minute)
		if counts["done"] != 1000 || !s.closed {
			t.Errorf("removed %v, closed %v", counts, s.closed)
		}
		for i := 1; i < 10; i++ {
			if pause := s.began[i].Sub(s.began[i-1]); pause != 2*time.Second {
				t.Errorf("batch %d began %s after the one before", i, pause)
			}
		}
		if strings.Count(log, "old rows removed") != 1 || !strings.Contains(log, `"rows":1000`) {
			t.Errorf("log:\n%s", log)
		}
	})
}

// While the workers have a lot to do nothing is removed; afterwards it goes on.
func TestGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := &sweep{left: 10 * batch}, time.Now()
		busyFrom, busyTo := began.Add(time.Minute*3/2), began.Add(10*time.Minute)
		s.took = 5 * time.Second // ten batches last ten minutes
		run(t, Config{Sweeps: []Sweep{s}, Busy: func(context.Context) (string, error) {
			if now := time.Now(); now.After(busyFrom) && now.Before(busyTo) {
				return "backlog", nil
			}
			return "", nil
		}}, time.Hour)
		for _, at := range s.began {
			if at.After(busyFrom) && at.Before(busyTo) {
				t.Errorf("a batch after %s", at.Sub(began))
			}
		}
		if s.left > 0 {
			t.Errorf("%d rows left", s.left)
		}
	})
}

// An error is told once while it lasts, and ends nothing.
func TestTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, sound := &sweep{err: errors.New("no such table")}, &sweep{left: 1}
		log := run(t, Config{Sweeps: []Sweep{broken, sound}}, 10*time.Minute)
		if sound.left > 0 || len(broken.began) < 5 || strings.Count(log, "no such table") != 1 {
			t.Errorf("tries %d, left %d, log:\n%s", len(broken.began), sound.left, log)
		}
		log = run(t, Config{Sweeps: []Sweep{sound}, Busy: func(context.Context) (string, error) { return "", errors.New("no database") }}, 5*time.Minute)
		if strings.Count(log, "no database") != 1 {
			t.Errorf("log:\n%s", log)
		}
	})
}
