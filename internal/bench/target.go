package bench

// Target is a promise about speed, and what was measured.
type Target struct {
	Name     string  `json:"name"`
	Relation string  `json:"relation"` // "at least" or "at most"
	Wanted   float64 `json:"wanted"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit,omitempty"`
	Met      bool    `json:"met"`
}

func (t Target) verdict() string {
	if t.Met {
		return "reached"
	}
	return "not reached"
}

const (
	atLeast = "at least"
	atMost  = "at most"
)

func newTarget(name, relation string, wanted, measured float64, unit string) Target {
	met := measured >= wanted
	if relation == atMost {
		met = measured <= wanted
	}
	return Target{Name: name, Relation: relation, Wanted: wanted, Measured: measured, Unit: unit, Met: met}
}

// targets are those that the measured cases tell something about.
func targets(cases []*Case) []Target {
	var list []Target
	find := func(like Case) *Case {
		for _, c := range cases {
			if c.Kind == like.Kind && c.Workers == like.Workers && c.Confirm == like.Confirm && c.Tokens == like.Tokens &&
				c.Batch == like.Batch && c.Delay == like.Delay && c.Task == Drain && len(c.Rounds) > 0 {
				return c
			}
		}
		return nil
	}
	ratio := func(name string, of, to *Case, wanted, scale float64) {
		if of != nil && to != nil && to.Median.Rate > 0 {
			list = append(list, newTarget(name, atLeast, wanted, of.Median.Rate/to.Median.Rate/scale, "×"))
		}
	}
	standard := find(Case{Kind: Modulo, Workers: standardK, Confirm: Transaction, Tokens: true, Batch: defaultBatch})
	ratio("K=5, defaults / the broker's ceiling", standard,
		find(Case{Kind: Ceiling, Workers: standardK, Confirm: Transaction, Batch: defaultBatch}), 0.85, 1)
	ratio("K=5, repeats possible / the broker's ceiling", find(Case{Kind: Modulo, Workers: standardK, Confirm: Transaction, Batch: defaultBatch}),
		find(Case{Kind: Ceiling, Workers: standardK, Confirm: Transaction, Batch: defaultBatch}), 0.85, 1)
	ratio("K=5, receipts / the broker's ceiling with receipts", find(Case{Kind: Modulo, Workers: standardK, Confirm: Receipt, Batch: defaultBatch}),
		find(Case{Kind: Ceiling, Workers: standardK, Confirm: Receipt, Batch: defaultBatch}), 0.85, 1)
	ratio("K=5 / the original, one worker", standard, find(Case{Kind: Original, Workers: 1}), 8, 1)
	ratio("K=5 / the original, five workers", standard, find(Case{Kind: Original, Workers: standardK}), 5, 1)
	ratio("K=5 / plain Go, five workers", standard, find(Case{Kind: Plain, Workers: standardK}), 5, 1)
	ratio("K=5 / River, five workers", standard, find(Case{Kind: River, Workers: standardK}), 5, 1)
	for _, c := range cases {
		if c.Delay > 0 && c.Kind == Modulo && c.Batch == defaultBatch {
			ratio("K=5 / the original, five workers, confirmations delayed", c, find(Case{Kind: Original, Workers: standardK, Delay: c.Delay}), 50, 1)
		}
		if c.Delay > 0 && c.Kind == Modulo && c.Batch == 1 && c.Workers == 32 {
			one := *c
			one.Workers = 1
			ratio("K=32 / 32 times K=1, batches of one row, confirmations delayed", c, find(one), 0.9, 32)
		}
	}
	limit := func(name string, value *float64, wanted, scale float64, unit string) {
		if value != nil {
			list = append(list, newTarget(name, atMost, wanted, *value/scale, unit))
		}
	}
	if standard != nil {
		limit("K=5: CPU per row", standard.Median.ProgramCPU, 10, 1, " µs")
		limit("K=5: allocations per row", standard.Median.Allocations, 2, 1, "")
	}
	for _, c := range cases {
		if m := c.Median; c.Task == Idle && m.ProgramShare != nil && m.DatabaseShare != nil {
			limit("K=64, idle: CPU of program and database", new(*m.ProgramShare+*m.DatabaseShare), 3, 1, " % of a core")
		}
		if c.Kind == Modulo && c.Task == Drain && c.Workers == 64 && c.Payload == 1000 && c.Delay == 0 {
			limit("K=64, batch 1000, 1 kB: memory", c.Median.PeakMemory, 128, 1<<20, " MiB")
		}
	}
	return list
}
