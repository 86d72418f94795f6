package jobs

import (
	"strings"
	"testing"
	"time"
)

// TestCheckNamesEveryWrongField has one mistake per entry, and what must be in the error.
func TestCheckNamesEveryWrongField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want   string // empty: no mistake
		change func(*Job)
	}{
		{"", func(*Job) {}},
		{`name ""`, func(j *Job) { j.Name = "" }},
		{`name "Orders"`, func(j *Job) { j.Name = "Orders" }},
		{`name "a b"`, func(j *Job) { j.Name = "a b" }},
		{`name "-a"`, func(j *Job) { j.Name = "-a" }},
		{`name "a\n"`, func(j *Job) { j.Name = "a\n" }},
		{"name", func(j *Job) { j.Name = strings.Repeat("a", 64) }},
		{"", func(j *Job) { j.Name = strings.Repeat("a", 63) }},
		{"", func(j *Job) { j.Name = "0-a_b" }},
		{"workers: 0", func(j *Job) { j.Workers = 0 }},
		{"workers: 1025", func(j *Job) { j.Workers = 1025 }},
		{"", func(j *Job) { j.Workers = 1024 }},
		{"batch: 0", func(j *Job) { j.Batch = 0 }},
		{"batch: 10001", func(j *Job) { j.Batch = 10_001 }},
		{"", func(j *Job) { j.Batch = 10_000 }},
		{"source.table", func(j *Job) { j.Source.Table = "" }},
		{"source.id", func(j *Job) { j.Source.ID = "" }},
		{"source.where", func(j *Job) { j.Source.Where = "" }},
		{"done.set", func(j *Job) { j.Source.DoneSet = "" }},
		{"ordered: needs source.shard_by", func(j *Job) { j.Ordered = true }},
		{"", func(j *Job) { j.Ordered, j.Source.ShardBy = true, "key" }},
		{"retry.max_attempts: 0", func(j *Job) { j.Retry.MaxAttempts = 0 }},
		{"retry.backoff: 0s..1m0s", func(j *Job) { j.Retry.MinBackoff = 0 }},
		{"retry.backoff: 1m1s..1m0s", func(j *Job) { j.Retry.MinBackoff = 61 * time.Second }},
		{"", func(j *Job) { j.Retry.MinBackoff = time.Minute }},
		{"message.max_body: 0", func(j *Job) { j.Message.MaxBody = 0 }},
		{"message.max_body: 104857601", func(j *Job) { j.Message.MaxBody = largestMaxBody + 1 }},
		{"", func(j *Job) { j.Message.MaxBody = largestMaxBody }},
		{"message.payload", func(j *Job) { j.Message.Payload = Payload{} }},
		{"message.payload", func(j *Job) { j.Message.Payload = Payload{Column: "a", SQL: "b"} }},
		{"message.payload", func(j *Job) { j.Message.Payload = Payload{Row: true, Column: "a"} }},
		{"message.columns", func(j *Job) { j.Message.Payload.Columns = []string{"a"} }},
		{"", func(j *Job) { j.Message.Payload = Payload{Row: true, Columns: []string{"a"}} }},
		{"message: destination", func(j *Job) { j.Message.Destination = "/topic/a" }},
		{"message: header key: a column name", func(j *Job) { j.Message.Headers = []HeaderSpec{{"key", "s3cret{"}} }},
		{"message: event_id", func(j *Job) { j.Message.EventID = "" }},
		{"schedule: needs either every or cron", func(j *Job) { j.Schedule = Schedule{} }},
		{"schedule: needs either every or cron", func(j *Job) { j.Schedule.Cron = "* * * * *" }},
		{"every: -1s", func(j *Job) { j.Schedule.Every = -time.Second }},
		{"every: 9ms", func(j *Job) { j.Schedule.Every = 9 * time.Millisecond }},
		{"", func(j *Job) { j.Schedule.Every = 10 * time.Millisecond }},
		{"timezone: goes with cron", func(j *Job) { j.Schedule.Timezone = "Europe/Berlin" }},
		{"timezone: unknown", func(j *Job) { j.Schedule = Schedule{Cron: "* * * * *", Timezone: "Europe/Atlantis"} }},
		{`cron "* * * *"`, func(j *Job) { j.Schedule = Schedule{Cron: "* * * *"} }},
		{`cron "60 * * * *"`, func(j *Job) { j.Schedule = Schedule{Cron: "60 * * * *"} }},
		{`cron "* * * * * *"`, func(j *Job) { j.Schedule = Schedule{Cron: "* * * * * *"} }},
		{`cron "0 0 30 2 *"`, func(j *Job) { j.Schedule = Schedule{Cron: "0 0 30 2 *"} }}, // never
		{`cron "TZ=Asia/Tokyo 0 9 * * *"`, func(j *Job) { j.Schedule = Schedule{Cron: "TZ=Asia/Tokyo 0 9 * * *"} }},
		{"", func(j *Job) { j.Schedule = Schedule{Cron: "@hourly", Timezone: "Local"} }},
		{`cron "@often"`, func(j *Job) { j.Schedule = Schedule{Cron: "@often"} }},
		{"", func(j *Job) { j.Schedule = Schedule{Cron: "@every 90m"} }},
		{`cron "@every 500ms": takes whole seconds only; write every:`, func(j *Job) { j.Schedule = Schedule{Cron: "@every 500ms"} }}, // would be a second
		{`cron "@every 1.5s"`, func(j *Job) { j.Schedule = Schedule{Cron: "@every 1.5s"} }},
		{`cron "@every -5m"`, func(j *Job) { j.Schedule = Schedule{Cron: "@every -5m"} }},
	} {
		job := validJob()
		c.change(job)
		err := job.Check()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", job, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), "\n"+c.want)):
			t.Errorf("%v, want a line that begins with %q", err, c.want)
		}
	}
}

func TestCheckTellsAllMistakes(t *testing.T) {
	t.Parallel()
	err := (&Job{Name: "bad"}).Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"job bad:", "workers", "batch", "source.table", "source.id", "source.where", "done.set", "retry.max_attempts",
		"retry.backoff", "message.max_body", "message.payload", "schedule", "message: event_id",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}
