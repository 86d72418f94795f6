package jobs

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestNoFaultLosesARow runs a worker against a world that fails wherever the real one can: in any place, any number
// of times. After the faults have stopped every promise must hold.
func TestNoFaultLosesARow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		synctest.Test(t, func(*testing.T) { w.live() })
		if w.wrong != nil {
			rt.Fatal(w.wrong)
		}
	})
}

// validJob is a job that passes Check.
func validJob() *Job {
	return &Job{
		Name: "test", Workers: 1, Batch: 100, Schedule: Schedule{Every: time.Second},
		Source: Source{Table: "events", ID: "id", Where: "done_at is null", DoneSet: "done_at = now()"},
		Message: MessageSpec{
			Destination: "/queue/test", Allow: []string{DefaultDestinations}, Payload: Payload{Column: "payload"},
			EventID: "test", MaxBody: 1000,
		},
		Retry: RetryPolicy{MaxAttempts: 3, MinBackoff: time.Second, MaxBackoff: time.Minute},
	}
}
