package operations_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"modulo/internal/operations"
	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

func TestMain(m *testing.M) { os.Exit(testservers.Main(m)) }

// newConsole is one on a database of a test's own, which has a job that nobody has configured.
func newConsole(t *testing.T) (*operations.Console, func(sql string)) {
	t.Helper()
	db, conn := testservers.Store(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`insert into modulo.jobs (job, workers) values ('old', 2);
		insert into modulo.workers (job, generation, number) select 'old', 1, n from generate_series(0, 1) as n;
		insert into modulo.failures (job, row_id, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
		select 'old', n, 'e' || n, 8, now(), now(), 'refused', 'reason ' || n from generate_series(1, 5000) as n`)
	return operations.New(operations.Config{DB: db}), exec
}

// TestBadJob: failed rows of a job that nobody has configured cannot be counted. That is said of the job, which does not hide the others.
func TestBadJob(t *testing.T) {
	t.Parallel()
	c, exec := newConsole(t)
	exec("alter table modulo.failures rename to elsewhere")
	o, err := c.Overview(t.Context())
	if err != nil || len(o.Jobs) != 1 || o.Jobs[0].BacklogProblem == "" || o.Jobs[0].Workers != 2 {
		t.Fatalf("without the table of failures: %+v, %v", o.Jobs, err)
	}
	exec("alter table modulo.elsewhere rename to failures")
	if job, err := c.Job(t.Context(), "old"); err != nil || job.BacklogProblem != o.Jobs[0].BacklogProblem {
		t.Errorf("tried again at once: %+v, %v", job, err)
	}
}

// TestBadTable: a table that was renamed does not hide the other jobs.
func TestBadTable(t *testing.T) {
	t.Parallel()
	c, exec := newConsole(t)
	exec("create table moved (id bigint primary key, payload text, done_at timestamptz)")
	c.Sources = map[string]*store.Source{}
	for _, table := range []string{"moved", "modulo.outbox"} {
		job := &jobs.Job{
			Name: strings.TrimPrefix(table, "modulo."), Workers: 2, Batch: 10, Schedule: jobs.Schedule{Every: time.Second},
			Source: jobs.Source{Table: table, ID: "id", Where: "done_at is null", DoneSet: "done_at = now()"},
			Message: jobs.MessageSpec{
				Destination: "/queue/a", EventID: "{id}", Payload: jobs.Payload{Column: "payload"},
				Allow: []string{jobs.DefaultDestinations}, MaxBody: 100,
			},
			Retry: jobs.RetryPolicy{MaxAttempts: 8},
		}
		source, _, err := c.DB.OpenSource(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		c.Jobs, c.Sources[job.Name] = append(c.Jobs, job), source
	}
	exec("alter table moved rename to elsewhere")
	for name, counted := range map[string]func(string) (store.Backlog, time.Time, bool){
		"command line": nil,
		"service":      func(string) (store.Backlog, time.Time, bool) { return store.Backlog{}, time.Time{}, false },
	} {
		o, err := operations.New(operations.Config{DB: c.DB, Jobs: c.Jobs, Sources: c.Sources, Counted: counted}).Overview(t.Context())
		if err != nil || len(o.Jobs) != 3 {
			t.Fatalf("%s: %d jobs, %v", name, len(o.Jobs), err)
		}
		if old := o.Jobs[1]; old.Job != "old" || old.Configured || old.Failed != 5000 || old.BacklogComplete {
			t.Errorf("%s: %+v", name, old)
		}
		if bad, well := o.Jobs[0], o.Jobs[2]; bad.BacklogProblem == "" || bad.BacklogComplete || well.BacklogProblem != "" || !well.BacklogComplete {
			t.Errorf("%s: %+v", name, o.Jobs)
		}
	}
}

// A job that is not in the configuration has all but what its table tells.
func TestUnconfiguredJob(t *testing.T) {
	t.Parallel()
	c, _ := newConsole(t)
	job, err := c.Job(t.Context(), "old")
	if err != nil || job.Configured || job.Workers != 2 || job.State != operations.StateStopped || len(job.PerWorker) != 2 {
		t.Errorf("%+v, %v", job, err)
	}
	if _, err := c.Job(t.Context(), "none"); !errors.Is(err, operations.ErrUnknownJob) {
		t.Errorf("got %v", err)
	}
	var unconfigured *operations.UnconfiguredError
	if _, err := c.Preview(t.Context(), "old", 3); !errors.As(err, &unconfigured) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Row(t.Context(), "old", 5001, true); !errors.As(err, &unconfigured) {
		t.Errorf("a row that nobody looked at: %v", err)
	}
	row, err := c.Row(t.Context(), "old", 7, true)
	if err != nil || row.Failure == nil || row.Pending || row.Message != nil {
		t.Errorf("%+v, %v", row, err)
	}
}

// A slip in the name of a job is told, and leaves no entry; a job of which only failed rows are left is none.
func TestUnknownJob(t *testing.T) {
	t.Parallel()
	c, exec := newConsole(t)
	exec(`insert into modulo.failures (job, row_id, event_id, attempts, next_attempt_at, failed_at, error_class, last_error)
		values ('gone', 1, 'e', 8, now(), now(), 'refused', 'reason')`)
	for name, known := range map[string]bool{"old": true, "gone": true, "odl": false} {
		f, by := store.FailureFilter{Job: name}, store.Actor{Who: "ann"}
		request := operations.RepairRequest{Repair: store.RepairRetry, Filter: store.FailureFilter{Job: name, Key: "nobody's"}}
		for what, do := range map[string]func() error{
			"failures":     func() error { _, err := c.Failures(t.Context(), f); return err },
			"groups":       func() error { _, err := c.Groups(t.Context(), f); return err },
			"count":        func() error { _, err := c.Count(t.Context(), f); return err },
			"count repair": func() error { _, err := c.CountRepair(t.Context(), f); return err },
			"passes":       func() error { _, err := c.Passes(t.Context(), name); return err },
			"past passes":  func() error { _, err := c.PastPasses(t.Context(), store.PassFilter{Job: name}); return err },
			"tokens":       func() error { _, err := c.Tokens(t.Context(), name); return err },
			"reset tokens": func() error { _, err := c.ResetTokens(t.Context(), by, name, nil, false); return err },
			"repair":       func() error { _, err := c.Repair(t.Context(), by, request, func(operations.Repaired) {}); return err },
			"start repair": func() error { _, err := c.StartRepair(t.Context(), by, request); return err },
		} {
			err := do()
			if known && err != nil || !known && (!errors.Is(err, operations.ErrUnknownJob) || !errors.Is(err, store.ErrNoJob)) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
	if audit, err := c.Audit(t.Context(), store.AuditFilter{Job: "odl"}); err != nil || len(audit.Entries) != 0 {
		t.Errorf("audit %+v, %v", audit, err)
	}
}

// What is queued when the process stops says in the audit that it ended early; asking again does the rest.
func TestStoppedRepair(t *testing.T) {
	t.Parallel()
	c, _ := newConsole(t)
	by := store.Actor{Who: "ann"}
	request := operations.RepairRequest{Repair: store.RepairRetry, Filter: store.FailureFilter{Job: "old", State: store.StateFailed}}
	began, err := c.StartRepair(t.Context(), by, request) // nobody watches: it waits
	if err != nil || began.Ended || began.Matched != 5000 || began.Result != store.ResultUnderWay {
		t.Fatalf("%+v, %v", began, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	c.Watch(stopped)
	entry, err := c.AuditEntry(t.Context(), began.Entry)
	if result, _ := entry.Result.Apart(); err != nil || result != store.ResultEarly || entry.EndedAt == nil || entry.Affected > 5000 {
		t.Fatalf("%+v, %v", entry, err)
	}

	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { c.Watch(ctx) })
	again, err := c.StartRepair(t.Context(), by, request)
	if err != nil {
		t.Fatal(err)
	}
	var rest operations.AuditEntry
	for deadline := time.Now().Add(time.Minute); rest.EndedAt == nil; { // on a busy machine it goes on after StartRepair
		if rest, err = c.AuditEntry(t.Context(), again.Entry); err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", rest, err)
		}
	}
	if rest.Affected+entry.Affected != 5000 {
		t.Errorf("%+v, after %d", rest, entry.Affected)
	}
	stop()
	watching.Wait()
}
