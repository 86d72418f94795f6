package jobs

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// TestRecalledRowsAreNotSent: what an earlier owner left without marks is marked; rows that have only the ids of
// delivered ones are sent.
func TestRecalledRowsAreNotSent(t *testing.T) {
	t.Parallel()
	for _, others := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := worldOf(3, goods(4)...)
			w.recalls, w.recall, w.others = true, []int64{1, 3}, others
			if !others {
				w.delivered = []int64{1, 3}
			}
			worker := w.owner(t, zerolog.Nop(), true)
			want(t, "done", mustPass(t, worker).Done, 4)
			want(t, "delivered", w.delivered, map[bool]string{false: "[1 3 2 4]", true: "[1 2 3 4]"}[others])
			want(t, "unsettled", worker.unsettled(), false)
		})
	}
}

// TestRowsOfASettledOwnerAreSent: where the last owner left everything marked, a row that is pending again was set so by
// hand. It is sent, although the broker names it.
func TestRowsOfASettledOwnerAreSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(3, goods(2)...)
		w.recalls, w.recall = true, []int64{1, 2}
		want(t, "done", mustPass(t, w.worker(t, zerolog.Nop())).Done, 2)
		want(t, "delivered", w.delivered, "[1 2]")
	})
}

// TestBrokerSetBackIsTold: what the broker has lost is told with its rows, and delivery goes on.
func TestBrokerSetBackIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(3, goods(2)...)
		w.recalls = true
		w.setBack = SetBack{Transactions: 2, Since: time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC), Rows: []int64{71, 76}, All: true}
		var log strings.Builder
		want(t, "done", mustPass(t, w.worker(t, zerolog.New(&log))).Done, 2)
		want(t, "transactions", w.observer.setBack, int64(2))
		if !strings.Contains(log.String(), `"rows":[71,76],"all_rows":true,"since":"2026-11-20T03:00:00Z"`) {
			t.Errorf("not logged: %s", log.String())
		}
	})
}

// TestLongRest: the broker is let forget soon after a pass, and asked again and again, so that its record does not get old.
func TestLongRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(3, goods(2)...)
		w.recalls = true
		worker := w.worker(t, zerolog.Nop())
		mustPass(t, worker)
		ctx, cancel := context.WithTimeout(t.Context(), forgetAfter+3*forgetAgain)
		defer cancel()
		want(t, "triggered", worker.rest(ctx, nil), false)
		want(t, "recalled", len(w.recall), 0)
		if w.forgets < 3 {
			t.Errorf("asked %d times", w.forgets)
		}
	})
}

// TestCrewRemembersWhatTheLastOwnerLeft: only the tick that takes a worker tells. A job that is paused then begins later.
func TestCrewRemembersWhatTheLastOwnerLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &counters{}
		var started []Rest
		crew := newCrew(validJob(), func(job *Job, owned Owned, lease *Lease) (*Worker, error) {
			started = append(started, owned.Rest)
			return NewWorker(WorkerConfig{Job: job, Shard: owned.Shard, Rows: c, Failures: c, Publisher: c, Lease: lease})
		}, nil, zerolog.Nop())
		m := &membership{lease: newLease(time.Now().Add(time.Hour)), ended: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); m.working.Wait(); m.lease.lose() }()
		taken := Owned{Shard: Shard{Of: 1, Epoch: 1}, Takeover: TakeoverReleased}
		owned := Owned{Shard: taken.Shard, Rest: Rest{Unfinished: true, Unsettled: true}} // as any worker that has an owner
		for _, state := range []JobState{{Paused: true, Owned: []Owned{taken}}, {Paused: true, Owned: []Owned{owned}}, {Owned: []Owned{owned}}} {
			if _, _, err := crew.apply(ctx, m, state, false); err != nil {
				t.Fatal(err)
			}
		}
		want(t, "started", started, []Rest{{}})
	})
}
