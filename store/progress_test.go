package store_test

import (
	"testing"
	"time"

	"modulo/store"
)

// Notes add up; one that is repeated, because nobody knows whether it was written, adds nothing.
func TestNoteProgressRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	note := func(want int64, list ...store.WorkerProgress) {
		t.Helper()
		if err := f.NoteProgress(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		known, err := f.Progress(t.Context(), "orders")
		if err != nil || len(known) != 1 || known[0].Done != want {
			t.Errorf("known %+v, %v; want %d rows", known, err, want)
		}
	}
	at := time.Now()
	rows := func(done int64, at time.Time) store.WorkerProgress {
		return store.WorkerProgress{Job: "orders", Done: done, ProgressAt: at}
	}
	note(0, rows(0, time.Time{}))
	note(0, rows(0, at))
	note(50, rows(50, at.Add(time.Second)))
	note(50, rows(50, at.Add(time.Second)))
	note(57, rows(7, at.Add(2*time.Second)))
	note(57, rows(0, time.Time{})) // a worker that only just got its owner
	note(57, rows(7, at.Add(2*time.Second)))
	note(60, rows(3, at)) // by an owner whose clock is behind
	if err := f.NoteProgress(t.Context(), []store.WorkerProgress{{Job: "orders", Done: 3, ProgressAt: at}, {Job: "other", ProgressAt: at}}); err != nil {
		t.Fatal(err)
	}
	note(60, rows(0, at))
}
