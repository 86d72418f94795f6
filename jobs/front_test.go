package jobs

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// walks is a front that takes some time to walk to.
type walks struct {
	mu    sync.Mutex
	count int
	took  time.Duration
	id    int64
	err   error
}

func (w *walks) find(ctx context.Context) (int64, error) {
	time.Sleep(w.took)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	return w.id, errors.Join(w.err, ctx.Err())
}

func mustStart(t *testing.T, f *Front, since time.Time) int64 {
	t.Helper()
	id, err := f.start(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A front that is near is not worth remembering: everybody begins at the first id.
func TestNearFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &walks{took: nearFront, id: 7}
		f := NewFront(w.find)
		for range 100 {
			want(t, "start", mustStart(t, f, time.Now()), int64(FirstID))
			time.Sleep(frontMinRest / 50)
		}
		want(t, "walks", w.count, 2)
	})
}

// However many workers sweep, they walk to a far front together: once to begin with, then once a minute, or when one of
// them asks for what can be fetched now.
func TestFarFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &walks{took: 2 * time.Second, id: 7}
		f := NewFront(w.find)
		begun := time.Now()
		var workers sync.WaitGroup
		for range 64 {
			workers.Go(func() {
				for since := begun; time.Since(begun) < 10*time.Minute; since = (time.Time{}) {
					want(t, "start", mustStart(t, f, since), int64(7))
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		workers.Wait()
		if w.count < 9 || w.count > 10 {
			t.Errorf("%d walks in ten minutes", w.count)
		}
		w.id = 6
		want(t, "at once", mustStart(t, f, time.Now()), int64(6))
		time.Sleep(frontMaxRest)
		w.took, w.id = nearFront, 5
		want(t, "a near front", mustStart(t, f, time.Time{}), int64(FirstID))
	})
}

// Only the worker that walks to a front which is out of date waits for it.
func TestFrontIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &walks{took: time.Second, id: 7}
		f := NewFront(w.find)
		mustStart(t, f, time.Time{})
		time.Sleep(frontMaxRest)
		var walking sync.WaitGroup
		walking.Go(func() { mustStart(t, f, time.Time{}) })
		synctest.Wait()
		begun := time.Now()
		mustStart(t, f, time.Time{})
		want(t, "waited", time.Since(begun), time.Duration(0))
		walking.Wait()
		want(t, "walks", w.count, 2)
	})
}

func TestFrontErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &walks{took: time.Second, id: 7, err: errSim}
		f := NewFront(w.find)
		if _, err := f.start(t.Context(), time.Time{}); !errors.Is(err, errSim) {
			t.Error(err)
		}
		w.err = nil
		var walking sync.WaitGroup
		walking.Go(func() { mustStart(t, f, time.Time{}) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := f.start(ctx, time.Time{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		walking.Wait()
	})
}

// Behind dead entries a worker never fetches from the first id, and finds what commits late within two sweeps.
func TestSweepsBeginAtTheFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newEmptyWorld(10)
		w.front = NewFront(w.findFront)
		for id := range int64(100) {
			w.insert(&simRow{id: id, pending: true})
		}
		late := &simRow{id: -5, late: true}
		w.insert(late)
		var lowest, first int64 = math.MaxInt64, math.MaxInt64
		w.hook = func(_ context.Context, stage string, ids []int64) error {
			if stage == "fetch" {
				lowest, first = min(lowest, ids[0]), ids[0]
			}
			return nil
		}
		worker := w.worker(t, zerolog.Nop())
		want(t, "done", mustPass(t, worker).Done, 100)
		want(t, "lowest", lowest, int64(0))
		mustPass(t, worker)
		want(t, "idle", first >= 99, true)
		late.pending = true
		time.Sleep(frontMinRest)
		want(t, "late", mustPass(t, worker).Done, 1)
		want(t, "lowest", lowest, int64(-5))
	})
}

// TestFrontSeenFromBehindAFailedRow: another worker walks while a failed row of an ordered job is tried again, and sees the
// rows behind it as held. They come before later ones of their key all the same.
func TestFrontSeenFromBehindAFailedRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newEmptyWorld(10)
		w.ordered = true
		w.front = NewFront(w.findFront)
		w.insert(&simRow{id: 1, key: "a", pending: true}, &simRow{id: 2, key: "a", pending: true}, &simRow{id: 3, key: "a", pending: true},
			&simRow{id: 10, key: "b", pending: true}, &simRow{id: 11, key: "a", pending: true})
		w.park(1, 0)
		w.ledger[1].Key = "a"
		w.hook = func(ctx context.Context, stage string, ids []int64) error {
			if stage == "settle" { // another worker asks for what can be fetched now
				_, err := w.front.start(ctx, time.Now())
				return err
			}
			return nil
		}
		worker := w.worker(t, zerolog.Nop())
		mustPass(t, worker)
		want(t, "delivered", w.delivered, "[1 2 3 10 11]")
		w.kept(t)
	})
}
