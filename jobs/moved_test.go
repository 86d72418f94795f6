package jobs

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// When the database has moved, a worker begins anew with nothing remembered, and goes on during the hold because this
// instance ran it. One that it only owns by what the new server says is given back.
func TestCrewBeginsAnewWhenTheDatabaseMoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &counters{}
		started := 0
		job := validJob()
		crew := newCrew(job, func(job *Job, owned Owned, lease *Lease) (*Worker, error) {
			started++
			return NewWorker(WorkerConfig{Job: job, Shard: owned.Shard, Rows: c, Failures: c, Publisher: c, Lease: lease})
		}, nil, zerolog.Nop())
		m := &membership{lease: newLease(time.Now().Add(time.Hour)), ended: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); m.working.Wait(); m.lease.lose() }()
		apply := func(state JobState, moved bool) []Owned {
			t.Helper()
			released, trusted, err := crew.apply(ctx, m, state, moved)
			if err != nil || !trusted {
				t.Fatalf("trusted %v, %v", trusted, err)
			}
			synctest.Wait()
			return released
		}
		run := Owned{Shard: Shard{Number: 0, Of: 2, Epoch: 1}}
		remembered := Owned{Shard: Shard{Number: 1, Of: 2, Epoch: 2}, Rest: Rest{Unfinished: true}}
		state := JobState{Job: job.Name, Workers: 2, Owned: []Owned{run}}
		apply(state, false)

		state.Hold, state.Owned = true, []Owned{run, remembered}
		want(t, "released", apply(state, true), []Owned{remembered})
		state.Owned = []Owned{run}
		want(t, "released later", len(apply(state, false)), 0)
		want(t, "workers started", started, 2)
	})
}

// moved is a database that has turned out to be another server when rows are marked.
type moved struct{ *counters }

func (moved) MarkDone(context.Context, []int64) error { return ErrMoved }

func TestWorkerEndsWhenTheDatabaseMoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &counters{sends: true}
		worker, err := NewWorker(WorkerConfig{
			Job: validJob(), Shard: Shard{Of: 1}, Rows: moved{c}, Failures: c, Publisher: c, Grace: time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}
		began, triggers := time.Now(), make(chan struct{}, 1)
		triggers <- struct{}{}
		want(t, "unfinished", worker.Run(t.Context(), triggers).Unfinished, true)
		want(t, "time spent on trying again", time.Since(began), time.Duration(0))
	})
}
