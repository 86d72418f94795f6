package jobs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
)

// TestDenied: where all rows go to one destination and the login may not write to it, no row is to blame; where each row
// names its own, the row is.
func TestDenied(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, destination string
		atomic            bool
		fault             Fault
		attempts          int
	}{
		{"one destination, transactions", "/queue/test", true, FaultConfiguration, 0},
		{"one destination, receipts", "/queue/test", false, FaultConfiguration, 0},
		{"destinations of rows, transactions", "/queue/{region}", true, FaultMessage, 1},
		{"destinations of rows, receipts", "/queue/{region}", false, FaultMessage, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := worldOf(2, goods(3)...)
				w.atomic = c.atomic
				worker := w.worker(t, zerolog.Nop())
				builder, err := NewBuilder(jobTo(c.destination), Shard{Of: 1})
				if err != nil {
					t.Fatal(err)
				}
				d := &sending{worker: worker, suspects: &suspects{}, outcome: &Outcome{}}
				worker.builder = builder
				w.hook = func(_ context.Context, stage string, ids []int64) error {
					if stage != "publish" {
						return nil
					}
					denied := &PublishError{Fault: FaultMessage, Denied: true, Err: errSim}
					if !c.atomic {
						denied.Refused = []Refusal{{Index: 0, Reason: "no right"}}
					}
					return denied
				}
				failed := d.publishPart(t.Context(), []Message{{RowID: 1, Destination: "/queue/test"}})
				published, is := errors.AsType[*PublishError](failed)
				if is != (c.fault == FaultConfiguration) || is && published.Fault != c.fault {
					t.Errorf("publish: %v", failed)
				}
				want(t, "refused rows", len(d.refused), c.attempts)
				want(t, "doubtful rows", len(worker.doubtful), 0)
			})
		})
	}
}

func jobTo(destination string) *Job {
	job := validJob()
	job.Message.Destination = destination
	return job
}
