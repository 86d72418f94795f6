package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
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

// goods are n good rows.
func goods(n int) []nature { return make([]nature, n) }

// track is what a world was asked for, in order, as in "publish [1 2]".
type track struct {
	lock  sync.Mutex
	calls []string
}

func (tr *track) note(stage string, ids []int64) {
	tr.lock.Lock()
	defer tr.lock.Unlock()
	tr.calls = append(tr.calls, fmt.Sprint(stage, " ", ids))
}

// of returns the calls of the stages.
func (tr *track) of(stages ...string) (calls []string) {
	tr.lock.Lock()
	defer tr.lock.Unlock()
	for _, call := range tr.calls {
		if name, _, _ := strings.Cut(call, " "); slices.Contains(stages, name) {
			calls = append(calls, call)
		}
	}
	return calls
}

func (tr *track) watch(w *world) {
	w.hook = func(_ context.Context, stage string, ids []int64) error {
		tr.note(stage, ids)
		return nil
	}
}

// mustPass passes once and wants no error.
func mustPass(t *testing.T, worker *Worker) Outcome {
	t.Helper()
	outcome, err := worker.Pass(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// kept fails the test if a promise was broken.
func (w *world) kept(t *testing.T) {
	t.Helper()
	if w.check(); w.wrong != nil {
		t.Error(w.wrong)
	}
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestMarkOverlapsPublish: while batch 1 is marked, batch 2 is sent and batch 3 fetched, and not one more.
func TestMarkOverlapsPublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(2, goods(9)...)
		var calls track
		marks := make(chan struct{})
		w.hook = func(_ context.Context, stage string, ids []int64) error {
			calls.note(stage, ids)
			if stage == "mark" {
				<-marks
			}
			return nil
		}
		worker := w.worker(t, zerolog.Nop())
		var passing sync.WaitGroup
		passing.Go(func() { mustPass(t, worker) })

		synctest.Wait()
		want(t, "marks", calls.of("mark"), "[mark [1 2]]")
		want(t, "sent during the first", calls.of("publish"), "[publish [1 2] publish [3 4]]")
		want(t, "fetches", len(calls.of("fetch")), 3)
		marks <- struct{}{}
		synctest.Wait()
		want(t, "marks", calls.of("mark"), "[mark [1 2] mark [3 4]]")
		want(t, "sent during the second", calls.of("publish"), "[publish [1 2] publish [3 4] publish [5 6]]")
		close(marks)
		passing.Wait()
		want(t, "delivered", w.delivered, "[1 2 3 4 5 6 7 8 9]")
		w.kept(t)
	})
}

// TestStopInEachStage: a stop lets finish what is in flight, within the grace, and nothing is sent afterwards.
func TestStopInEachStage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stage     string
		takes     time.Duration // how long the call hangs unless its context ends; the grace is 10 s
		stops     time.Duration // how long the stop takes
		delivered int
		unmarked  int
	}{
		{"connect", time.Hour, 0, 0, 0},
		{"due", time.Hour, 0, 0, 0},
		{"fetch", time.Hour, 0, 0, 0},
		{"publish", 5 * time.Second, 5 * time.Second, 2, 0},
		{"publish", time.Hour, 10 * time.Second, 0, 0},
		{"mark", 4 * time.Second, 8 * time.Second, 4, 0}, // two batches are sent
		{"mark", time.Hour, 10 * time.Second, 4, 4},
	} {
		t.Run(fmt.Sprint(c.stage, " ", c.takes), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := worldOf(2, goods(10)...)
				var calls track
				w.hook = func(ctx context.Context, stage string, ids []int64) error {
					calls.note(stage, ids)
					if stage == c.stage && !pause(ctx, c.takes) {
						if stage == "publish" {
							return &PublishError{Fault: FaultConnection, Err: ctx.Err()}
						}
						return ctx.Err()
					}
					return nil
				}
				var log bytes.Buffer
				worker := w.worker(t, zerolog.New(&log))
				ctx, stop := context.WithCancel(context.Background())
				triggers := make(chan struct{}, 1)
				triggers <- struct{}{}
				var running sync.WaitGroup
				running.Go(func() { worker.Run(ctx, triggers) })
				synctest.Wait()
				asked := time.Now()
				stop()
				running.Wait()
				want(t, "stop took", time.Since(asked), c.stops)
				want(t, "delivered", len(w.delivered), c.delivered)
				want(t, "stopped before all was sent", w.total.Stopped, true)
				want(t, "unmarked", len(worker.unmarked), c.unmarked)
				want(t, "told", strings.Contains(log.String(), `"rows":4,"message":"stopped before confirmed rows were marked done`), c.unmarked > 0)
				want(t, "pending", len(w.pendingIDs()), 10-c.delivered+c.unmarked)
				before := len(calls.of("publish", "mark", "fetch"))
				time.Sleep(time.Hour)
				want(t, "calls after the stop", len(calls.of("publish", "mark", "fetch"))-before, 0)
				if w.wrong != nil {
					t.Error(w.wrong)
				}
			})
		})
	}
}

// TestFaultIsNoStop: a fault ends the fetching of further batches too; but nobody has told the pass to stop.
func TestFaultIsNoStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(2, goods(10)...)
		connects := 0
		w.hook = func(_ context.Context, stage string, _ []int64) error {
			if stage != "connect" {
				return nil
			}
			if connects++; connects == 1 {
				return nil
			}
			time.Sleep(time.Second) // a second batch waits by then
			return &ConnectError{Fault: FaultConnection, Err: errSim}
		}
		outcome, err := w.worker(t, zerolog.Nop()).Pass(t.Context())
		if err == nil || outcome.Stopped || outcome.Fetched == 0 || outcome.Sent > 0 {
			t.Errorf("%+v, %v", outcome, err)
		}
	})
}

// TestLeftOverIsMarkedFirst: what a pass could not mark, the next one marks before it fetches anything.
func TestLeftOverIsMarkedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(2, goods(5)...)
		w.hook = func(ctx context.Context, stage string, _ []int64) error {
			if stage == "mark" {
				return errSim
			}
			return nil
		}
		worker := w.worker(t, zerolog.Nop())
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		_, err := worker.Pass(ctx)
		if !errors.Is(err, errSim) || len(worker.unmarked) == 0 {
			t.Fatalf("error %v, unmarked %v", err, worker.unmarked)
		}
		var calls track
		calls.watch(w)
		outcome := mustPass(t, worker)
		want(t, "first calls", calls.calls[:2], "[mark [1 2 3 4] connect []]")
		want(t, "done", outcome.Done, 5)
		want(t, "repeated", w.total.Repeated, 0)
		w.kept(t)
	})
}

// TestPanicInEachStage: a panic ends the pass, not the worker, and costs no row and no repeat that can be avoided.
func TestPanicInEachStage(t *testing.T) {
	t.Parallel()
	for stage, repeats := range map[string]int{"connect": 0, "due": 0, "fetch": 0, "publish": 2, "mark": 0, "park": 0} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := worldOf(2, good, good, invalid_, good, good)
				once := true
				w.hook = func(_ context.Context, at string, _ []int64) error {
					if at == stage && once {
						once = false
						panic("in " + stage)
					}
					return nil
				}
				var log bytes.Buffer
				worker := w.worker(t, zerolog.New(&log))
				_, err := worker.Pass(context.Background())
				if panicked, ok := errors.AsType[*panicError](err); !ok || !bytes.Contains(panicked.stack, []byte("TestPanicInEachStage")) {
					t.Errorf("error %v", err)
				}
				if !strings.Contains(log.String(), "in "+stage) || !strings.Contains(log.String(), "stack") {
					t.Errorf("log %s", &log)
				}
				time.Sleep(time.Minute)
				mustPass(t, worker)
				want(t, "delivered", w.delivered, "[1 2 4 5]")
				want(t, "counted as repeated", w.total.Repeated, repeats)
				w.kept(t)
			})
		})
	}
}
