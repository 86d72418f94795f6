package jobs

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// TestUnmarkableRowIsIsolated: the others are marked, it is not sent again, and a person can have it marked later.
func TestUnmarkableRowIsIsolated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(4, good, good, unmarkable, good, unmarkable, good)
		worker := w.worker(t, zerolog.Nop())
		outcome := mustPass(t, worker)
		outcome.Took = 0
		want(t, "outcome", outcome, Outcome{Fetched: 6, Sent: 6, Done: 4, Failed: 2})
		want(t, "pending", w.pendingIDs(), "[3 5]")
		f := w.ledger[3]
		if f.Class != ClassUnmarkable || !f.Delivered || f.Reason != errSim.Error() || f.RetryAfter != 0 {
			t.Errorf("failure %+v", f)
		}
		time.Sleep(time.Hour)
		mustPass(t, worker)
		w.table[3].nature = good
		f.dueAt = time.Now()
		time.Sleep(time.Minute)
		want(t, "done", mustPass(t, worker).Done, 1)
		want(t, "pending", w.pendingIDs(), "[5]")
		want(t, "delivered", w.delivered, "[1 2 3 4 5 6]")
		w.kept(t)
	})
}

// TestMarkWaitsForTheDatabase: meanwhile nothing is sent again and no more is fetched.
func TestMarkWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(2, goods(10)...)
		begun := time.Now()
		var calls track
		w.hook = func(_ context.Context, stage string, ids []int64) error {
			calls.note(stage, ids)
			if stage == "mark" && time.Since(begun) < time.Hour {
				return errSim
			}
			return nil
		}
		outcome := mustPass(t, w.worker(t, zerolog.Nop()))
		want(t, "done", outcome.Done, 10)
		if fetches := len(calls.of("fetch")); fetches > 7 { // six batches, and one more where a sweep has become due
			t.Errorf("%d fetches in an hour", fetches)
		}
		want(t, "sent", outcome.Sent, 10)
		if marks := len(calls.of("mark")); marks > int(time.Hour/maxPause)*2+10 {
			t.Errorf("%d marks in an hour", marks)
		}
		w.kept(t)
	})
}
