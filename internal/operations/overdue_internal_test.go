package operations

import (
	"testing"
	"time"

	"modulo/jobs"
)

// TestOverdue: a job by cron may let rows wait for its time, over a week-end, too, but not over two of its times.
func TestOverdue(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 3, 2, 2, 59, 0, 0, time.UTC)
	for _, c := range []struct {
		cron   string
		oldest time.Duration
		want   bool
	}{
		{"*/5 * * * *", 48 * time.Hour, true},
		{"*/5 * * * *", 4 * time.Minute, false},
		{"0 3 * * 1-5", 70 * time.Hour, false}, // since Friday morning
		{"0 3 * * 1-5", 96 * time.Hour, true},
		{"@hourly", 50 * time.Minute, false},
		{"@hourly", 3 * time.Hour, true},
		{"@every 90m", 5 * time.Hour, true},
		{"0 0 30 2 *", 96 * time.Hour, false}, // never
	} {
		job := Job{Backlog: 1, Aged: true, OldestSeconds: c.oldest.Seconds()}
		if got := overdue(jobs.Schedule{Cron: c.cron}, job, monday); got != c.want {
			t.Errorf("%s, oldest %s: %v, want %v", c.cron, c.oldest, got, c.want)
		}
	}
}
