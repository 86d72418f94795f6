package store_test

import (
	"errors"
	"slices"
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
	must(worker.Sent(t.Context(), 12))
	claimed(12)
	if err := before.Sent(t.Context(), 99); !errors.Is(err, jobs.ErrFenced) {
		t.Errorf("noted by another owner: %v", err)
	}
	claimed(12)
	must(worker.Sent(t.Context(), 5)) // the broker has gone back
	claimed(5)
	if _, err := f.As(operator).ResetTokens(t.Context(), "outbox", nil, true); err != nil {
		t.Fatal(err)
	}
	if noted := column[bool](f.fixture, "select serial is null from modulo.tokens"); !slices.Equal(noted, []bool{true}) {
		t.Errorf("the serial is forgotten: %v", noted)
	}
	claimed(0)
}
