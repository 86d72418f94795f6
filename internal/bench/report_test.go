package bench

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 9, 2}, 3}} {
		before := slices.Clone(c.values)
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("the values were sorted in place: %v", c.values)
		}
	}
}

// TestMedianRound: each value has its own median, and what no round tells stays unknown.
func TestMedianRound(t *testing.T) {
	t.Parallel()
	m := medianRound([]Round{
		{Rows: 10, Seconds: 1, Rate: 10, ProgramCPU: new(5.0)},
		{Rows: 10, Seconds: 3, Rate: 3, ProgramCPU: new(1.0)},
		{Rows: 10, Seconds: 2, Rate: 5},
	})
	if m.Rows != 10 || m.Seconds != 2 || m.Rate != 5 || m.ProgramCPU == nil || *m.ProgramCPU != 3 || m.BrokerCPU != nil {
		t.Errorf("%+v", m)
	}
}

// TestSize: a round takes about the time that is wanted, in whole batches of all workers where there are several.
func TestSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   Case
		rate float64
		want int
	}{
		{Case{Workers: 5, Batch: 1000}, 20_500, 60_000},
		{Case{Workers: 5, Batch: 1000}, 1000, 3000},
		{Case{Workers: 5, Batch: 1000}, 1e9, 100_000},
		{Case{Workers: 1, Batch: 1}, 45.1, 136},
		{Case{Workers: 5}, 0, 1},
	} {
		if got := c.of.size(c.rate, 100_000, 3*time.Second); got != c.want {
			t.Errorf("%+v at %v rows/s: %d rows, want %d", c.of, c.rate, got, c.want)
		}
	}
}

// TestTargets: each target compares the cases that it is about, and only those that were measured.
func TestTargets(t *testing.T) {
	t.Parallel()
	measured := func(c Case, m Round) *Case {
		c.Rounds, c.Median, c.Task = []Round{m}, m, cmp.Or(c.Task, Drain)
		return &c
	}
	late := 20 * time.Millisecond
	cases := []*Case{
		measured(Case{Kind: Ceiling, Workers: 5, Confirm: Transaction, Batch: 1000}, Round{Rate: 20_000}),
		measured(Case{Kind: Modulo, Workers: 5, Confirm: Transaction, Tokens: true, Batch: 1000},
			Round{Rate: 16_000, ProgramCPU: new(10.5), Allocations: new(1.5)}),
		measured(Case{Kind: Original, Workers: 1}, Round{Rate: 2000}),
		measured(Case{Kind: Original, Workers: 5, Delay: late}, Round{Rate: 200}),
		measured(Case{Kind: Modulo, Workers: 5, Confirm: Transaction, Tokens: true, Batch: 1000, Delay: late}, Round{Rate: 12_000}),
		measured(Case{Kind: Modulo, Workers: 1, Confirm: Transaction, Tokens: true, Batch: 1, Delay: late}, Round{Rate: 45}),
		measured(Case{Kind: Modulo, Workers: 32, Confirm: Transaction, Tokens: true, Batch: 1, Delay: late}, Round{Rate: 45 * 32}),
		measured(Case{Kind: Modulo, Workers: 64, Confirm: Transaction, Tokens: true, Batch: 1000, Payload: 1000}, Round{PeakMemory: new(100.0 * (1 << 20))}),
		measured(Case{Kind: Modulo, Task: Idle, Workers: 64}, Round{ProgramShare: new(1.5), DatabaseShare: new(2.0)}),
		{Kind: River, Workers: 5}, // not measured
	}
	want := []Target{
		{"K=5, defaults / the broker's ceiling", atLeast, 0.85, 0.8, "×", false},
		{"K=5 / the original, one worker", atLeast, 8, 8, "×", true},
		{"K=5 / the original, five workers, confirmations delayed", atLeast, 50, 60, "×", true},
		{"K=32 / 32 times K=1, batches of one row, confirmations delayed", atLeast, 0.9, 1, "×", true},
		{"K=5: CPU per row", atMost, 10, 10.5, " µs", false},
		{"K=5: allocations per row", atMost, 2, 1.5, "", true},
		{"K=64, batch 1000, 1 kB: memory", atMost, 128, 100, " MiB", true},
		{"K=64, idle: CPU of program and database", atMost, 3, 3.5, " % of a core", false},
	}
	got := targets(cases)
	for i := range got {
		got[i].Measured = math.Round(1e6*got[i].Measured) / 1e6
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
