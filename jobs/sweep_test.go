package jobs

import (
	"context"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"
)

// rowsAt is a world with good rows of these ids.
func rowsAt(limit int, ids ...int64) *world {
	w := newEmptyWorld(limit)
	for _, id := range ids {
		w.insert(&simRow{id: id, pending: true})
	}
	return w
}

func TestExtremeIDs(t *testing.T) {
	t.Parallel()
	ids := []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64}
	for limit := range len(ids) + 1 {
		synctest.Test(t, func(t *testing.T) {
			w := rowsAt(limit+1, ids...)
			worker := w.worker(t, zerolog.Nop())
			want(t, "done", mustPass(t, worker).Done, len(ids))
			if !slices.Equal(w.delivered, ids) {
				t.Errorf("batches of %d: %v", limit+1, w.delivered)
			}
			// A row may come at either end, even after the last bigint was done.
			for _, id := range []int64{math.MaxInt64, math.MinInt64} {
				w.table[id].pending = true
				w.delivered = nil
				time.Sleep(sweepMaxRest)
				want(t, "done", mustPass(t, worker).Done, 1)
			}
			want(t, "delivered", w.delivered, []int64{math.MinInt64})
		})
	}
}

// TestLateCommitIsFound: a lower id that commits while higher ones are drained, or afterwards, is delivered within 50
// times the duration of a sweep.
func TestLateCommitIsFound(t *testing.T) {
	t.Parallel()
	const fetch = 10 * time.Millisecond
	for _, c := range []struct {
		what    string
		commits time.Duration
	}{{"while others are drained", 300 * time.Millisecond}, {"in a quiet time", 5 * time.Minute}} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newEmptyWorld(10)
				for id := range int64(1000) {
					w.insert(&simRow{id: id, pending: true})
				}
				late := &simRow{id: -5, late: true}
				w.insert(late)
				begun := time.Now()
				var delivered time.Duration
				w.hook = func(_ context.Context, stage string, ids []int64) error {
					switch {
					case stage == "fetch":
						time.Sleep(fetch)
						w.lock.Lock()
						late.pending = late.pending || w.sendings[late.id] == 0 && time.Since(begun) >= c.commits
						w.lock.Unlock()
					case stage == "publish" && slices.Contains(ids, late.id):
						delivered = time.Since(begun)
					}
					return nil
				}
				worker := w.worker(t, zerolog.Nop())
				for delivered == 0 && time.Since(begun) < time.Hour {
					mustPass(t, worker)
					time.Sleep(500 * time.Millisecond)
				}
				// A sweep reads what is in flight first: four fetches at most.
				if waited := delivered - c.commits; waited < 0 || waited > sweepRest*4*fetch+time.Second {
					t.Errorf("delivered %s after its commit", waited)
				}
			})
		})
	}
}

// TestRowMarkedDuringAFetch: the fetch has read the row before the mark took effect, and returns it afterwards.
func TestRowMarkedDuringAFetch(t *testing.T) {
	t.Parallel()
	w := rowsAt(10, 1, 2, 3)
	worker := w.worker(t, zerolog.Nop())
	first, err := worker.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, "first", first.ids, "[1 2 3]")
	w.insert(&simRow{id: 4, pending: true}, &simRow{id: -4, pending: true})
	worker.sweep()
	worker.Rows = fetched{w, func() { worker.land(first.ids) }}
	second, err := worker.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, "second", second.ids, "[-4 4]")
	// What has landed may come again: it would be pending for a reason.
	worker.Rows = w
	worker.sweep()
	third, err := worker.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, "third", third.ids, "[1 2 3]")
}

// fetched calls a function after the rows are read and before they are returned.
type fetched struct {
	Rows
	then func()
}

func (f fetched) Fetch(ctx context.Context, from int64) (Batch, error) {
	batch, err := f.Rows.Fetch(ctx, from)
	f.then()
	return batch, err
}

// TestSweepsAreCheap: sweeps take 2 % of the time at most, as long as one takes less than a second.
func TestSweepsAreCheap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, now := newCursor(), time.Now()
		begun, spent := now, time.Duration(0)
		took := time.Duration(rapid.Int64Range(int64(time.Microsecond), int64(4*time.Millisecond)).Draw(t, "fetch"))
		for i := range 1000 {
			from, _ := c.from(now)
			from = max(from, -500)
			if c.sweeping {
				spent += took
			}
			now = now.Add(took)
			more := i%rapid.IntRange(1, 50).Draw(t, "batches") > 0
			c.advance(Batch{Rows: []Row{{ID: from + 3}}, More: more}, took, now)
			if !more {
				now = now.Add(500 * time.Millisecond)
			}
		}
		if limit := now.Sub(begun)*2/100 + c.spent; spent > limit {
			t.Fatalf("%s of %s were sweeps, with fetches of %s", spent, now.Sub(begun), took)
		}
	})
}
