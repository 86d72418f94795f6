package jobs

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// park puts a failure into the world's ledger that is due after the delay.
func (w *world) park(id int64, delay time.Duration) *record {
	f := &record{Failure: Failure{RowID: id, Key: w.table[id].key, Class: ClassRefused, Attempts: 1}, dueAt: time.Now().Add(delay)}
	w.ledger[id] = f
	return f
}

// setAside makes rows single suspects.
func (w *world) setAside(worker *Worker, ids ...int64) {
	for _, id := range ids {
		worker.aside.set(id, isolation{since: time.Now()})
		w.wasAside[id] = true
	}
}

func TestRefusedRowIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(3, good, healing, refused, good, good)
		w.atomic = false
		worker := w.worker(t, zerolog.Nop())
		want(t, "failed", mustPass(t, worker).Failed, 2)
		want(t, "delivered", w.delivered, "[1 4 5]")
		want(t, "attempts", w.ledger[3].Attempts, 1)
		for range 100 {
			time.Sleep(2 * time.Second)
			mustPass(t, worker)
		}
		want(t, "delivered", w.delivered, "[1 4 5 2]")
		want(t, "attempts", w.ledger[3].Attempts, 4)
		want(t, "due", w.ledger[3].dueAt.IsZero(), true)
		w.kept(t)
	})
}

// TestWithdrawnRowFreesItsKey: the rows that were held back behind it come before those that are new.
func TestWithdrawnRowFreesItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(3, refused, good, good, good)
		w.ordered, w.slow = true, time.Second // a sweep by itself is far away
		for _, row := range w.table {
			row.key = "a"
		}
		w.table[4].pending = false
		worker := w.worker(t, zerolog.Nop())
		mustPass(t, worker)
		want(t, "delivered", w.delivered, "[]")
		w.table[1].pending, w.table[1].withdrawn, w.table[4].pending = false, true, true
		time.Sleep(2 * time.Second)
		mustPass(t, worker)
		want(t, "delivered", w.delivered, "[2 3 4]")
		w.kept(t)
	})
}

// TestDiscardedRowIsNotSent, not even if it was set aside, or read as due before the broker went away.
func TestDiscardedRowIsNotSent(t *testing.T) {
	t.Parallel()
	t.Run("due", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := worldOf(3, goods(2)...)
			w.park(1, 0).discarded = true
			worker := w.worker(t, zerolog.Nop())
			want(t, "done", mustPass(t, worker).Done, 2)
			want(t, "delivered", w.delivered, "[2]")
			want(t, "records", len(w.ledger), 0)
			w.kept(t)
		})
	})
	t.Run("during an outage", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := worldOf(1, goods(3)...)
			f := w.park(1, 500*time.Millisecond)
			worker := w.worker(t, zerolog.Nop())
			w.hook = func(_ context.Context, stage string, ids []int64) error {
				switch {
				case stage == "publish" && ids[0] == 2:
					time.Sleep(2 * time.Second) // row 1 has become due when the fetch stage looks again
				case stage == "publish" && ids[0] == 3:
					w.connected = false
					return &PublishError{Fault: FaultConnection, Err: errSim}
				}
				return nil
			}
			if _, err := worker.Pass(context.Background()); err == nil {
				t.Error("no error")
			}
			f.discarded = true // while the broker is away
			w.hook = nil
			for range 3 {
				mustPass(t, worker)
			}
			want(t, "delivered", w.delivered, "[2 3]")
			w.kept(t)
		})
	})
	t.Run("set aside", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := worldOf(3, goods(2)...)
			f := w.park(1, 0)
			worker := w.worker(t, zerolog.Nop())
			w.setAside(worker, 1)
			w.hook = func(_ context.Context, stage string, _ []int64) error {
				f.discarded = f.discarded || stage == "mark" // between the look for due rows and the try of those set aside
				return nil
			}
			mustPass(t, worker)
			want(t, "delivered", w.delivered, "[2]")
			want(t, "records", len(w.ledger), 0)
			w.kept(t)
		})
	})
}

// watched are failures that tell when they were asked for due rows and some were found.
type watched struct {
	Failures
	found chan struct{}
}

func (f watched) Due(ctx context.Context, from int64) (Batch, int, error) {
	due, cleared, err := f.Failures.Due(ctx, from)
	due.More = false // or else nobody looks which rows they are
	if len(due.Rows) > 0 {
		close(f.found)
	}
	return due, cleared, err
}

// TestRowIsSetAsideWhileOthersBecomeDue: the publish stage sets a row aside at the moment when the fetch stage looks which
// of the due rows are. It can fail with the race detector only.
func TestRowIsSetAsideWhileOthersBecomeDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(1, goods(2)...)
		w.slow = 2 * dueInterval
		failed := w.park(2, time.Hour)
		worker := w.worker(t, zerolog.Nop())
		found := make(chan struct{})
		worker.Failures = watched{w, found}
		sent := 0
		w.hook = func(_ context.Context, stage string, _ []int64) error {
			if stage != "publish" {
				return nil
			}
			if sent++; sent == 2 {
				<-found
			}
			return &PublishError{Fault: FaultConnection, Err: errSim}
		}
		for range 2 {
			if sent == 1 {
				failed.dueAt = time.Now().Add(dueInterval) // when row 1 has been fetched
			}
			if _, err := worker.Pass(t.Context()); !connectionLost(err) {
				t.Errorf("error %v", err)
			}
		}
		if !worker.isAside(Row{ID: 1}) {
			t.Error("row 1 is not set aside")
		}
	})
}

// TestRowSetAsideIsSentOnce: the fetch stage has read a row as due that the end of the pass delivers.
func TestRowSetAsideIsSentOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(1, goods(3)...)
		w.park(1, 0)
		worker := w.worker(t, zerolog.Nop())
		w.setAside(worker, 1)
		w.hook = func(_ context.Context, stage string, ids []int64) error {
			if stage == "publish" && ids[0] == 2 {
				time.Sleep(2 * dueInterval)
			}
			return nil
		}
		for range 4 {
			mustPass(t, worker)
		}
		want(t, "deliveries of row 1", w.sendings[1], 1)
		w.kept(t)
	})
}

// TestRowsSetAsideDoNotSpin: due rows that are set aside fill a batch, which then says that there are more.
func TestRowsSetAsideDoNotSpin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(1, deadly, good)
		w.park(1, 0)
		worker := w.worker(t, zerolog.Nop())
		w.setAside(worker, 1)
		if _, err := worker.Pass(context.Background()); err == nil {
			t.Error("no error")
		}
		want(t, "delivered", w.delivered, "[2]")
	})
}

// TestRetryDuringItsFailureDoesNotSpin: a person asks for another try of a row whose key is held in this pass.
func TestRetryDuringItsFailureDoesNotSpin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(1, refused)
		w.ordered, w.table[1].key = true, "a"
		w.park(1, 0).Attempts = 3
		worker := w.worker(t, zerolog.Nop())
		asked := false
		w.hook = func(_ context.Context, stage string, _ []int64) error {
			if f := w.ledger[1]; stage == "due" && f.Attempts == 4 && !asked {
				f.Attempts, f.dueAt, asked = 0, time.Now(), true
			}
			return nil
		}
		mustPass(t, worker)
		want(t, "attempts", w.ledger[1].Attempts, 0)
		time.Sleep(dueInterval)
		mustPass(t, worker)
		want(t, "attempts", w.ledger[1].Attempts, 1)
	})
}

// TestSuspectStopsNobody: of two rows set aside, the one that is lost again does not keep the other from being sent.
func TestSuspectStopsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(3, deadly, good)
		worker := w.worker(t, zerolog.Nop())
		w.setAside(worker, 1, 2)
		time.Sleep(time.Second)
		for range 4 {
			_, _ = worker.Pass(context.Background())
			time.Sleep(time.Second)
		}
		want(t, "delivered", w.delivered, "[2]")
		if f := w.ledger[1]; f == nil || f.Class != ClassRefused {
			t.Errorf("row 1: %+v", f)
		}
	})
}

// TestSuspectHoldsItsKey: the other one has its key, and must not overtake it.
func TestSuspectHoldsItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(3, deadly, good)
		w.ordered, w.table[1].key, w.table[2].key = true, "a", "a"
		worker := w.worker(t, zerolog.Nop())
		w.setAside(worker, 1, 2)
		for range 4 {
			_, _ = worker.Pass(context.Background())
			time.Sleep(time.Second)
		}
		want(t, "delivered", w.delivered, "[]")
	})
}

// TestOneLostConnectionSuspectsNobody: what was under way is sent again as it was, and nothing is set aside.
func TestOneLostConnectionSuspectsNobody(t *testing.T) {
	t.Parallel()
	for rows := 1; rows < 4; rows++ {
		synctest.Test(t, func(t *testing.T) {
			w := worldOf(3, goods(rows)...)
			w.faults = map[stage][]fault{publishing: {none, fails}} // connect, publish
			worker := w.worker(t, zerolog.Nop())
			if _, err := worker.Pass(context.Background()); !connectionLost(err) {
				t.Errorf("error %v", err)
			}
			want(t, "aside", len(worker.aside.ids()), 0)
			want(t, "sent", mustPass(t, worker).Sent, rows)
			w.kept(t)
		})
	}
}

// TestUnlistedMessagesAreSentAgain: the broker closes the connection after it has refused one message of several.
func TestUnlistedMessagesAreSentAgain(t *testing.T) {
	t.Parallel()
	for _, atomic := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := worldOf(5, good, refused, good, good)
			w.atomic = atomic
			once := true
			w.hook = func(_ context.Context, stage string, _ []int64) error {
				if stage == "publish" && once {
					once = false
					return &PublishError{Fault: FaultMessage, Refused: []Refusal{{Index: 1, Reason: "no"}}, Err: errSim}
				}
				return nil
			}
			outcome := mustPass(t, w.worker(t, zerolog.Nop()))
			want(t, "delivered", w.delivered, "[1 3 4]")
			want(t, "reason", w.ledger[2].Reason, "no")
			repeated := 0
			if !atomic {
				repeated = 3 // the broker may have taken them
			}
			want(t, "outcome", outcome, Outcome{Fetched: 4, Sent: 7, Done: 3, Failed: 1, Repeated: repeated})
			w.kept(t)
		})
	}
}

// TestManyRowsOfOneKey are sent one by one to a broker without transactions, in memory that does not grow with their
// square. Not parallel: it measures.
func TestManyRowsOfOneKey(t *testing.T) {
	const rows = 3000
	w := worldOf(rows, goods(rows)...)
	w.ordered, w.atomic = true, false
	for _, row := range w.table {
		row.key = "a"
	}
	worker := w.worker(t, zerolog.Nop())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mustPass(t, worker)
	runtime.ReadMemStats(&after)
	want(t, "delivered", len(w.delivered), rows)
	if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 100 {
		t.Errorf("%d MB allocated", allocated)
	}
	w.kept(t)
}

// TestSuspectsDoNotHoldBackOtherRetries, not even when a whole batch of them is due before the others, and nothing
// else flows.
func TestSuspectsDoNotHoldBackOtherRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(2, deadly, deadly, deadly, good, good)
		worker := w.worker(t, zerolog.Nop())
		for id := range w.table {
			w.park(id, 0)
		}
		w.setAside(worker, 1, 2, 3)
		_, err := worker.Pass(t.Context())
		want(t, "error", connectionLost(err), true)
		want(t, "delivered", w.delivered, "[4 5]")
	})
}
