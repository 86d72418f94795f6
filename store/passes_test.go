package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"modulo/store"
)

// history lists entries as "worker result sent", newest first.
func (f *fixture) history(filter store.PassFilter) []string {
	f.t.Helper()
	filter.Job, filter.Limit = "orders", max(filter.Limit, 2)
	list, err := f.Passes(f.t.Context(), filter)
	if err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for _, p := range list {
		lines = append(lines, fmt.Sprintf("%d %s %d", p.Number, p.Result, p.Sent))
	}
	return lines
}

// The history is read in pages, newest first; an entry that goes on is written again, as a whole, as often as need be.
func TestPasses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	began := time.Now().Add(-time.Minute).Truncate(time.Second)
	pass := store.Pass{
		Job: "orders", BeganAt: began, EndedAt: began.Add(time.Second), Passes: 2, Took: 400 * time.Millisecond,
		Sent: 10, Done: 9, Failed: 1, Repeated: 3, Result: store.PassComplete,
	}
	early, missed := pass, pass
	early.Number, early.Result, early.Sent, early.Problem = 1, store.PassEarly, 4, "no \x00 broker"
	missed.Number, missed.BeganAt, missed.Sent, missed.Result, missed.Problem = store.NoWorker, began.Add(time.Second), 0, store.PassMissed, "nobody"
	note := func(list ...store.Pass) {
		t.Helper()
		if err := f.NotePasses(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	note(pass, early, missed, missed)
	pass.Sent, pass.Passes = 25, 3
	note(pass)
	if first := f.history(store.PassFilter{}); !slices.Equal(first, []string{"-1 missed 0", "1 ended early 4"}) {
		t.Errorf("first page %q", first)
	}
	if second := f.history(store.PassFilter{Before: &store.PassPosition{BeganAt: began, Number: 1}}); !slices.Equal(second, []string{"0 complete 25"}) {
		t.Errorf("second page %q", second)
	}
	if trouble := f.history(store.PassFilter{Worker: new(1), Trouble: true}); !slices.Equal(trouble, []string{"1 ended early 4"}) {
		t.Errorf("trouble of worker 1: %q", trouble)
	}
	list, err := f.Passes(t.Context(), store.PassFilter{Job: "orders", Worker: new(0), Limit: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	got := list[0]
	if got.Instance == "" || !got.BeganAt.Equal(pass.BeganAt) || !got.EndedAt.Equal(pass.EndedAt) {
		t.Errorf("%+v", got)
	}
	if got.Instance, got.BeganAt, got.EndedAt = "", pass.BeganAt, pass.EndedAt; got != pass {
		t.Errorf("%+v, want %+v", got, pass)
	}
}

// What is too old, and what is too much, is removed a part at a time; the rest, and the entries of other jobs, stay.
func TestPrunePasses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.jobs (job, workers) values ('orders', 1), ('other', 1)`)
	fill := func(job string, entries int, until string) {
		t.Helper()
		f.exec(fmt.Sprintf(`insert into modulo.passes select '%s', 0, 'here', %s - n * interval '1 second', now(), 1, 1, 1, 1, 0, 0, 'complete'
			from generate_series(1, %d) as n`, job, until, entries))
	}
	fill("orders", store.MaxPassesKept+7000, "now()")
	fill("other", 10, "now()")
	fill("other", 10, "now() - interval '1 day'")
	for n, want := range []int{store.MaxPassesKept + 2000 + 20, store.MaxPassesKept + 10, store.MaxPassesKept + 10} {
		more, err := f.PrunePasses(t.Context())
		if err != nil || more != (n == 0) {
			t.Fatalf("more %t, %v", more, err)
		}
		if got := column[int](f, "select count(*)::int from modulo.passes")[0]; got != want {
			t.Errorf("%d entries after %d calls, want %d", got, n+1, want)
		}
	}
}
