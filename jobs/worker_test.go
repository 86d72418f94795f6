package jobs

import (
	"time"
)

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
