package store_test

import (
	"errors"
	"testing"

	"modulo/jobs"
)

// TestTokenSerial: what the owner notes of its token is told to whoever comes next, until the token is made anew; who is no
// longer the owner notes nothing.
func TestTokenSerial(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	owner := f.start()
	shard := owner.step().Owned[0].Shard
	source := f.source(outboxJob())
	worker := source.Worker(shard)
	before := source.Worker(jobs.Shard{Of: 1, Epoch: 1 << 40})
	claimed := func(want int64) (lineage string) {
		t.Helper()
		claim, err := worker.Claim(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if claim.Serial != want {
			t.Errorf("serial %d, want %d", claim.Serial, want)
		}
		return claim.Lineage
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(worker.Made(t.Context(), claimed(0)))
	claimed(0)
	must(worker.Held(t.Context(), 7))
	claimed(7)
	must(worker.Sent(t.Context(), 12))
	claimed(12)
	if err := before.Held(t.Context(), 99); !errors.Is(err, jobs.ErrFenced) {
		t.Errorf("held by another owner: %v", err)
	}
	must(before.Sent(t.Context(), 99))
	claimed(12)
	must(worker.Held(t.Context(), 5)) // the broker has gone back
	claimed(5)
	f.exec("update modulo.tokens set made = false")
	claimed(0)
}
