package dashboard

import (
	"errors"
	"strings"
	"testing"
	"time"

	"modulo/internal/operations"
)

// wellJob is one with nothing to complain about.
func wellJob(now time.Time) operations.Job {
	return operations.Job{
		Job: "outbox", Configured: true, Generation: 3, Workers: 2, Owned: 2, Instances: 1, Schedule: "every 500ms", ByInterval: true, BacklogComplete: true, Aged: true,
		ProgressAt: &now, PerWorker: []operations.Worker{{Instance: "a", OwnerSeconds: 14400}, {Worker: 1, Instance: "b", OwnerSeconds: 14400}},
	}
}

// TestVerdict: each state of a job has its sentence, and its way to put it right.
func TestVerdict(t *testing.T) {
	t.Parallel()
	now := time.Now()
	longAgo, hoursAgo := now.Add(-5*time.Minute), now.Add(-3*time.Hour)
	well := wellJob(now)
	trouble := func(workers int) []operations.Worker {
		list := []operations.Worker{{Instance: "a"}, {Worker: 1, Instance: "b"}}
		for i := range workers {
			list[i].LastPass = &operations.Pass{Problem: "connect: connection refused"}
		}
		return list
	}
	for name, c := range map[string]struct {
		change                 func(*operations.Job)
		class, sentence, wants string
	}{
		"idle":                   {func(*operations.Job) {}, "good", "All is delivered", ""},
		"flowing":                {func(j *operations.Job) { j.Backlog, j.RowsPerSecond, j.OldestSeconds = 100, 512.4, 2 }, "good", "Events flow: 512 rows/s, the oldest pending row has waited 2.0 s", ""},
		"slow":                   {func(j *operations.Job) { j.Backlog = 1 }, "good", "Events flow: 1 row is on the way", ""},
		"failed":                 {func(j *operations.Job) { j.Failed = 1 }, "warn", "All is delivered, but 1 row failed", "1 row of outbox failed and waits for a person."},
		"paused":                 {func(j *operations.Job) { j.Paused, j.Backlog = true, 3512 }, "warn", "Events do not flow in outbox", "outbox is paused: 3,512 rows wait."},
		"never run":              {func(j *operations.Job) { j.Generation = 0 }, "warn", "Events do not flow in outbox", "never run"},
		"no one":                 {func(j *operations.Job) { j.Instances, j.Owned = 0, 0 }, "bad", "Events do not flow in outbox", "No instance runs outbox."},
		"unowned":                {func(j *operations.Job) { j.Owned = 1 }, "warn", "All is delivered", "1 worker of outbox has no owner"},
		"elsewhere":              {func(j *operations.Job) { j.Configured, j.Paused = false, true }, "warn", "Events do not flow in outbox", "outbox is paused."},
		"elsewhere, idle":        {func(j *operations.Job) { j.Configured, j.Aged = false, false }, "", "What waits in outbox is not known here", ""},
		"elsewhere, delivering":  {func(j *operations.Job) { j.Configured, j.RowsPerSecond = false, 12 }, "good", "Events flow: 12 rows/s", ""},
		"elsewhere, failed":      {func(j *operations.Job) { j.Configured, j.Failed = false, 1 }, "warn", "What waits in outbox is not known here, but 1 row failed", "1 row of outbox failed"},
		"its instance has died":  {func(j *operations.Job) { j.Configured, j.Instances, j.Owned = false, 0, 0 }, "warn", "Events do not flow in outbox", "No instance runs outbox any more"},
		"all free":               {func(j *operations.Job) { j.Owned = 0 }, "bad", "Events do not flow in outbox", "No worker of outbox has an owner"},
		"changing":               {func(j *operations.Job) { j.ChangingTo = 5 }, "busy", "All is delivered", "from 2 to 5 workers"},
		"broker":                 {func(j *operations.Job) { j.PerWorker = trouble(2); j.Backlog = 1 }, "bad", "Events do not flow in outbox", "1 row waits. The last reason: connect: connection refused"},
		"one broker":             {func(j *operations.Job) { j.PerWorker = trouble(1) }, "warn", "All is delivered", "1 worker of outbox got nowhere"},
		"tokens":                 {func(j *operations.Job) { j.TokenProblems = 2 }, "bad", "Events do not flow in outbox", "modulo workers reset-token outbox"},
		"stalled":                {func(j *operations.Job) { j.Backlog, j.OldestSeconds, j.ProgressAt = 9, 300, &longAgo }, "bad", "Events do not flow in outbox", "no progress for 5 min: 9 rows wait, the oldest for 5 min."},
		"stalled, no ages":       {func(j *operations.Job) { j.Backlog, j.Aged, j.ProgressAt = 50_000, false, &hoursAgo }, "bad", "Events do not flow in outbox", "no progress for 3 h: 50,000 rows wait."},
		"stalled from the start": {func(j *operations.Job) { j.Backlog, j.OldestSeconds, j.ProgressAt = 50_000, 3*3600, nil }, "bad", "Events do not flow in outbox", "no progress so far: 50,000 rows wait, the oldest for 3 h."},
		"just started": {func(j *operations.Job) {
			j.Backlog, j.Aged, j.ProgressAt = 50_000, false, nil
			j.PerWorker = []operations.Worker{{Instance: "a", OwnerSeconds: 5}, {Worker: 1, OwnerSeconds: 14400}}
		}, "good", "Events flow: 50,000 rows are on the way", ""},
		"hardly": {func(j *operations.Job) { j.Backlog, j.OldestSeconds = 50_000, 3*3600 }, "warn", "Rows wait: 50,000 rows are pending, the oldest pending row has waited 3 h", "hardly delivers: 50,000 rows wait"},
		"overdue": {func(j *operations.Job) {
			j.ByInterval, j.Schedule, j.Backlog, j.OldestSeconds, j.ProgressAt, j.Overdue = false, "cron */5 * * * *", 50_000, 2*86400, &hoursAgo, true
		}, "warn", "Rows wait: 50,000 rows are pending, the oldest pending row has waited 2 d", "outbox is behind its schedule, cron */5 * * * *: 50,000 rows wait, the oldest for 2 d."},
		"uncounted": {func(j *operations.Job) { j.BacklogComplete, j.BacklogProblem = false, "no such table" }, "warn", "It is not known what waits in outbox", "The rows of outbox cannot be counted: no such table"},
		"by cron": {func(j *operations.Job) {
			j.ByInterval, j.Schedule, j.Backlog, j.OldestSeconds, j.ProgressAt = false, "cron 0 3 * * *", 9, 300, &longAgo
		}, "good", "Events flow: 9 rows are on the way, the oldest pending row has waited 5 min", ""},
		"behind": {func(j *operations.Job) { j.Backlog, j.OldestSeconds, j.RowsPerSecond = 1200, 90, 10 }, "warn", "Events flow: 10 rows/s, the oldest pending row has waited 1 min 30 s", "behind: 1,200 rows wait, the oldest for 1 min 30 s; at 10 rows/s that is 2 min."},
	} {
		j := well
		c.change(&j)
		v := (&renderer{}).verdictOf([]operations.Job{j}, snapshot[operations.Overview]{At: now}, now)
		var reasons []string
		for _, r := range v.Reasons {
			reasons = append(reasons, r.Text)
			if len(r.Links) == 0 {
				t.Errorf("%s: no way to put it right", name)
			}
		}
		if said := strings.Join(reasons, " "); v.Class != c.class || v.Word != c.sentence || !strings.Contains(said, c.wants) || (c.wants == "") != (said == "") {
			t.Errorf("%s: %s %q: %s", name, v.Class, v.Word, said)
		}
	}
}

// TestVerdictOfJobs: beside jobs that are not configured here, and without the database, nothing is claimed that nobody knows.
func TestVerdictOfJobs(t *testing.T) {
	t.Parallel()
	now := time.Now()
	well, longAgo, hoursAgo := wellJob(now), now.Add(-5*time.Minute), now.Add(-3*time.Hour)
	weekAgo := now.Add(-7 * 24 * time.Hour)
	gone := operations.Job{Job: "old", Generation: 1, Workers: 2, Failed: 3, ProgressAt: &weekAgo}
	dead := gone
	if dead.ProgressAt = &hoursAgo; stateMark(gone, now).Class != "" || stateMark(dead, now).Class != "warn" {
		t.Errorf("without an instance for a week: %v, for hours: %v", stateMark(gone, now), stateMark(dead, now))
	}
	paused := dead
	paused.Paused, paused.State = true, operations.StatePaused // by somebody who knows that it is gone
	other := well
	other.Job, other.Configured = "other", false
	for _, c := range []struct {
		list            []operations.Job
		class, sentence string
	}{
		{[]operations.Job{paused, well}, "good", "All is delivered of the jobs configured here"},
		{[]operations.Job{paused}, "", "No instance runs old, and it is not configured here"},
		{[]operations.Job{gone, well}, "good", "All is delivered of the jobs configured here"},
		{[]operations.Job{gone}, "", "No instance runs old, and it is not configured here"},
		{[]operations.Job{well, other}, "", "All is delivered of the jobs configured here"},
		{[]operations.Job{gone, other}, "", "What waits in other is not known here"},
	} {
		if v := (&renderer{}).verdictOf(c.list, snapshot[operations.Overview]{At: now}, now); v.Class != c.class || v.Word != c.sentence || len(v.Reasons) > 0 {
			t.Errorf("beside jobs that are not configured here: %v, want %q", v, c.sentence)
		}
	}
	v := (&renderer{}).verdictOf([]operations.Job{well}, snapshot[operations.Overview]{At: longAgo, Err: errors.New("gone")}, now)
	if v.Class != "bad" || v.Word != "The database does not answer" || !strings.Contains(v.Reasons[0].Text, "read 5 min ago") {
		t.Errorf("without the database: %v", v)
	}
}

// TestWords: numbers, rates and durations as people write them.
func TestWords(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		count(0): "0", count(-1234567): "-1,234,567", count(int64(1000)): "1,000", rate(0): "0", rate(0.44): "0.4", rate(1234.5): "1,235",
		span(0): "0.0 s", span(9949 * time.Millisecond): "9.9 s", span(9951 * time.Millisecond): "10 s", span(time.Minute): "1 min", span(-time.Second): "0 s",
		span(3*time.Hour + 5*time.Minute): "3 h 5 min", span(50 * time.Hour): "2 d 2 h", plural(1, "row", "rows"): "1 row", plural(2000, "row", "rows"): "2,000 rows",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestStalledWorker: a worker with rows that never moved, of a table without ages, is not "delivering".
func TestStalledWorker(t *testing.T) {
	t.Parallel()
	now := time.Now()
	hoursAgo := now.Add(-3 * time.Hour)
	job := operations.Job{ByInterval: true}
	for _, c := range []struct {
		worker operations.Worker
		word   string
	}{
		{operations.Worker{Instance: "a", Backlog: 50_000, OwnerSeconds: 14400}, "stalled"},
		{operations.Worker{Instance: "a", Backlog: 50_000, OwnerSeconds: 14400, ProgressAt: &hoursAgo}, "stalled"},
		{operations.Worker{Instance: "a", Backlog: 50_000, OwnerSeconds: 14400, ProgressAt: &now}, "delivering"},
		{operations.Worker{Instance: "a", Backlog: 50_000, OwnerSeconds: 5}, "delivering"},
	} {
		if got := workerMark(job, c.worker, now); got.Word != c.word {
			t.Errorf("%+v: %s, want %s", c.worker, got.Word, c.word)
		}
	}
}

// TestLasts: a backlog that was not counted to its end lasts longer than what was counted.
func TestLasts(t *testing.T) {
	t.Parallel()
	for complete, want := range map[bool]string{true: "10 s", false: "more than 10 s"} {
		if got := lasts(operations.Job{Backlog: 1000, RowsPerSecond: 100, BacklogComplete: complete}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
