package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

var operator = store.Actor{Who: "ann@desk", Reason: "ticket 7"}

// repair does a whole repair.
func (f *fixture) repair(repair store.Repair, filter store.FailureFilter) (int, error) {
	f.t.Helper()
	r, err := f.As(operator).BeginRepair(f.t.Context(), repair, filter, nil)
	if err != nil {
		return 0, err
	}
	return r.Run(f.t.Context(), func(*store.Repairing) {})
}

// entries are the audit, newest first, as "who: action job target (reason) = result, affected".
func (f *fixture) entries(filter store.AuditFilter) []string {
	f.t.Helper()
	if filter.Limit == 0 {
		filter.Limit = 100
	}
	list, err := f.Audit(f.t.Context(), filter)
	if err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for _, e := range list {
		lines = append(lines, fmt.Sprintf("%s: %s %s %s (%s) = %s, %d", e.Who, e.Action, e.Job, e.Target, e.Reason, e.Result, e.Affected))
	}
	return lines
}

func (f *fixture) wantEntries(filter store.AuditFilter, want ...string) {
	f.t.Helper()
	got := f.entries(filter)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		f.t.Errorf("audit:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Everything that is changed is recorded, and so is what was refused.
func TestAudit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.jobs (job, workers) values ('orders', 5);
		insert into modulo.workers (job, generation, number) select 'orders', 1, n from generate_series(0, 4) as n;
		insert into modulo.tokens (job, number, lineage, made, problem) values ('orders', 1, 'x', true, 'gone')`)
	by, ctx := f.As(operator), t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(by.Pause(ctx, "orders", true))
	must(by.Pause(ctx, "orders", false))
	must(by.Trigger(ctx, "orders"))
	must(by.ResetTokens(ctx, "orders", nil, false))
	must(by.ChangeWorkers(ctx, store.WorkersChange{Job: "orders", Workers: 8, IfGeneration: 1}))
	var changing *store.ChangingError
	if _, err := by.ChangeWorkers(ctx, store.WorkersChange{Job: "orders", Workers: 9}); !errors.As(err, &changing) {
		t.Errorf("got %v", err)
	}
	var generation *store.GenerationError
	if _, err := by.ChangeWorkers(ctx, store.WorkersChange{Job: "orders", Workers: 9, IfGeneration: 4}); !errors.As(err, &generation) {
		t.Errorf("got %v", err)
	}
	if _, err := by.AbortChange(ctx, store.WorkersChange{Job: "orders", Workers: 7}); !errors.As(err, &changing) {
		t.Errorf("somebody else's change was taken back: %v", err)
	}
	if _, err := by.AbortChange(ctx, store.WorkersChange{Job: "orders", IfGeneration: 4}); !errors.As(err, &generation) {
		t.Errorf("got %v", err)
	}
	must(by.AbortChange(ctx, store.WorkersChange{Job: "orders", Workers: 8, IfGeneration: 1}))
	f.wantEntries(store.AuditFilter{},
		"ann@desk: abort change of workers orders -> 8 workers (ticket 7) = done, 1",
		"ann@desk: abort change of workers orders  (ticket 7) = refused: job orders is at generation 1, not 4: somebody else has changed its workers, 0",
		"ann@desk: abort change of workers orders -> 7 workers (ticket 7) = refused: job orders is being changed from 5 to 8 workers by somebody else, 0",
		"ann@desk: change workers orders 5 -> 9 workers (ticket 7) = refused: job orders is at generation 1, not 4: somebody else has changed its workers, 0",
		"ann@desk: change workers orders 5 -> 9 workers (ticket 7) = refused: job orders is being changed from 5 to 8 workers by somebody else, 0",
		"ann@desk: change workers orders 5 -> 8 workers (ticket 7) = done, 1",
		"ann@desk: reset tokens orders all workers with a problem (ticket 7) = done, 1",
		"ann@desk: trigger orders  (ticket 7) = done, 1",
		"ann@desk: resume orders  (ticket 7) = done, 1",
		"ann@desk: pause orders  (ticket 7) = done, 1")
	if page := f.entries(store.AuditFilter{Job: "orders", Before: 3}); len(page) != 2 {
		t.Errorf("before entry 3: %q", page)
	}
	if _, err := f.AuditEntry(ctx, 99); !errors.Is(err, store.ErrNoEntry) {
		t.Errorf("got %v", err)
	}
}

// A change that somebody else makes at the same moment is found when the lock on the job is there: it is looked at anew, and
// leaves one entry about what was found then, or none where there is nothing left to change.
func TestAuditOfOvertakenChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		theirs int
		want   []string
	}{
		"the same K":  {8, nil},
		"another one": {9, []string{"ann@desk: change workers orders 5 -> 8 workers (ticket 7) = refused: job orders is being changed from 5 to 9 workers by somebody else, 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.exec(`insert into modulo.jobs (job, workers) values ('orders', 5)`)
			rival := testservers.Connect(t, f.url)
			if _, err := rival.Exec(t.Context(), fmt.Sprintf("begin; update modulo.jobs set next_workers = %d", c.theirs)); err != nil {
				t.Fatal(err)
			}
			changed := make(chan error, 1)
			go func() {
				_, err := f.As(operator).ChangeWorkers(t.Context(), store.WorkersChange{Job: "orders", Workers: 8})
				changed <- err
			}()
			within(t, "the change waits for the lock", func() bool {
				return len(column[int32](f, `select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`)) == 1
			})
			if _, err := rival.Exec(t.Context(), "commit"); err != nil {
				t.Fatal(err)
			}
			if err := <-changed; (err != nil) != (c.want != nil) {
				t.Errorf("got %v", err)
			}
			f.wantEntries(store.AuditFilter{}, c.want...)
		})
	}
}

// A change without its entry is none: both are one transaction.
func TestAuditIsPartOfTheChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.jobs (job, workers) values ('orders', 5); alter table modulo.audit add check (who <> 'nobody')`)
	if _, err := f.As(store.Actor{Who: "nobody"}).Pause(t.Context(), "orders", true); err == nil {
		t.Error("no error")
	}
	if c, err := f.Control(t.Context(), "orders"); err != nil || c.Paused {
		t.Errorf("%+v, %v", c, err)
	}
}

// manyFailures makes records of four causes, of which one is rare.
func (f *fixture) manyFailures(rows int) {
	f.exec(`insert into modulo.failures (job, row_id, key, event_id, attempts, next_attempt_at, failed_at, error_class, last_error, updated_at)
		select 'job', n, 'k' || n % 10, gen_random_uuid(), 8, now(), now(), case when n % 3 = 0 then 'refused' else 'invalid_message' end,
			case when n % 1000 = 0 then 'rare' when n % 3 = 0 then 'queue full: message ' || n || ' of ' || gen_random_uuid() else 'header x: value ' || n || ' is bad' end,
			now() - interval '1 hour'
		from generate_series(1, $1::int) as n`, rows)
}

func TestGroupFailures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.manyFailures(5000)
	groups, err := f.GroupFailures(t.Context(), store.FailureFilter{Job: "job"})
	if err != nil || !groups.Complete || groups.Others != 0 {
		t.Fatalf("%+v, %v", groups, err)
	}
	var got []string
	for _, g := range groups.Groups {
		got = append(got, fmt.Sprintf("%s %q %d %d", g.Class, g.Pattern, g.Rows, g.FirstRow))
		picked := store.FailureFilter{Job: "job", Class: g.Class, Pattern: g.Pattern}
		if n, err := f.CountFailures(t.Context(), picked); n != g.Rows || err != nil {
			t.Errorf("the filter of group %q picks %d of %d rows, %v", g.Pattern, n, g.Rows, err)
		}
		if g.Sample == "" || g.Failed != g.Rows {
			t.Errorf("group %+v", g)
		}
	}
	want := []string{`invalid_message "header x: value # is bad" 3330 1`, `refused "queue full: message # of #" 1665 3`,
		`invalid_message "rare" 4 1000`, `refused "rare" 1 3000`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("groups %q, want %q", got, want)
	}
}

// A repair of more than one chunk is done in full, and its entry tells how far it is.
func TestRepairInChunks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.manyFailures(5000)
	by, wrong := f.As(operator), 4999
	var count *store.CountError
	if _, err := by.BeginRepair(t.Context(), store.RepairRetry, store.FailureFilter{Job: "job"}, &wrong); !errors.As(err, &count) || count.Have != 5000 {
		t.Errorf("got %v", err)
	}
	expect := 1665
	r, err := by.BeginRepair(t.Context(), store.RepairRetry, store.FailureFilter{Job: "job", Class: jobs.ClassRefused, Contains: "QUEUE FULL"}, &expect)
	if err != nil {
		t.Fatal(err)
	}
	f.exec("update modulo.failures set updated_at = clock_timestamp() where row_id = 3") // failed anew after the count
	if n, err := r.Run(t.Context(), func(*store.Repairing) {}); n != 1664 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	var told []int
	r, err = by.BeginRepair(t.Context(), store.RepairDiscard, store.FailureFilter{Job: "job"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.Run(t.Context(), func(r *store.Repairing) { told = append(told, r.Done) }); n != 5000 || err != nil || fmt.Sprint(told) != "[2000 4000 5000]" {
		t.Errorf("%d rows, %v, told %v", n, err, told)
	}
	if _, err := f.repair(store.RepairDiscard, store.FailureFilter{Job: "job"}); err != nil {
		t.Fatal(err)
	}
	f.wantEntries(store.AuditFilter{},
		"ann@desk: discard rows job all failed rows (ticket 7) = nothing to change, 0",
		"ann@desk: discard rows job all failed rows (ticket 7) = done, 5000",
		"ann@desk: retry rows job class refused, reason with QUEUE FULL (ticket 7) = done, 1664",
		"ann@desk: retry rows job all failed rows (ticket 7) = refused: 5000 rows match now, not 4999: look again, 0")
}

// A repair that cannot go on leaves what it did, and says so.
func TestRepairEndsEarly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.manyFailures(3000)
	r, err := f.As(operator).BeginRepair(t.Context(), store.RepairRetry, store.FailureFilter{Job: "job"}, nil)
	if err == nil {
		err = r.Next(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	f.exec("alter table modulo.failures rename to elsewhere")
	if n, err := r.Run(t.Context(), func(*store.Repairing) {}); n != 2000 || err == nil {
		t.Errorf("%d rows, %v", n, err)
	}
	entries := f.entries(store.AuditFilter{})
	if len(entries) != 1 || !strings.Contains(entries[0], "= ended early: ") || !strings.HasSuffix(entries[0], ", 2000") {
		t.Errorf("audit %q", entries)
	}
}

// Two people in two processes: who comes second is refused as long as the first repair goes on, and each row is changed once.
func TestOneRepairAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.manyFailures(5000)
	ann, bob := f.As(store.Actor{Who: "ann"}), open(t, store.Config{URL: f.url}).As(store.Actor{Who: "bob"})
	filter, expect := store.FailureFilter{Job: "job"}, 5000
	began := make(chan *store.Repairing, 2)
	var both sync.WaitGroup
	for by, repair := range map[*store.Operator]store.Repair{ann: store.RepairRetry, bob: store.RepairDiscard} {
		both.Go(func() {
			r, err := by.BeginRepair(t.Context(), repair, filter, &expect)
			if refused, ok := errors.AsType[*store.RepairingError](err); err != nil && (!ok || refused.Who != "ann" && refused.Who != "bob") {
				t.Error(err)
			}
			if err == nil {
				began <- r
			}
		})
	}
	both.Wait()
	if len(began) != 1 {
		t.Fatalf("%d of two repairs were accepted", len(began))
	}
	r := <-began
	if err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.BeginRepair(t.Context(), store.RepairRetry, store.FailureFilter{Job: "another"}, nil); err != nil {
		t.Errorf("of another job: %v", err)
	}
	if n, err := r.Run(t.Context(), func(*store.Repairing) {}); n != 5000 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if _, err := bob.BeginRepair(t.Context(), store.RepairRetry, filter, nil); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

// A repair whose process is gone is shown as ended, keeps nobody out, and does no more rows should it come back.
func TestSilentRepair(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.manyFailures(3000)
	by, filter := f.As(operator), store.FailureFilter{Job: "job"}
	gone, err := by.BeginRepair(t.Context(), store.RepairDiscard, filter, nil)
	if err == nil {
		err = gone.Next(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	f.exec("update modulo.audit set progress_at = progress_at - interval '61 seconds'")
	if e, err := f.AuditEntry(t.Context(), gone.Entry); err != nil || e.EndedAt == nil || !strings.HasPrefix(string(e.Result), "ended early: ") || e.Affected != 2000 {
		t.Errorf("%+v, %v", e, err)
	}
	if n, err := f.repair(store.RepairRetry, filter); n != 1000 || err != nil {
		t.Errorf("the next repair: %d rows, %v", n, err)
	}
	if n, err := gone.Run(t.Context(), func(*store.Repairing) {}); n != 2000 || err == nil {
		t.Errorf("the first one went on: %d rows, %v", n, err)
	}
}
