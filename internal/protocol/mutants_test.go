package protocol

import (
	"strings"
	"testing"
)

// sizes are what a mutant is looked for in, the cheap ones first.
var sizes = []struct {
	workers [2]uint8
	faults  uint8
}{{[2]uint8{1, 1}, 1}, {[2]uint8{1, 1}, 2}, {[2]uint8{1, 2}, 1}, {[2]uint8{1, 1}, 3}}

// What each part of the protocol is for: without it, this happens.
func TestMutants(t *testing.T) {
	t.Parallel()
	const repeated, lost, stranded, twoTokens, oldSender = "a row is repeated", "a row is lost", "rows are stranded",
		"two tokens", "a generation that is over"
	for name, test := range map[string]struct {
		mutant  protocol
		problem string
	}{
		"a successor recalls nothing":           {protocol{neverRecalled: true}, repeated},
		"doubts are forgotten":                  {protocol{doubtsForgotten: true}, repeated},
		"the token names the last batch only":   {protocol{openUnnamed: true}, repeated},
		"marks before the receipt":              {protocol{markedEarly: true}, lost},
		"fetch before the token":                {protocol{fetchedEarly: true}, repeated},
		"the token is emptied before the marks": {protocol{forgottenEarly: true}, repeated},
		"a release that is always settled":      {protocol{calledSettled: true}, repeated},
		"taking a worker does not flag it":      {protocol{unflagged: true}, repeated},
		"a change of K ignores open workers":    {protocol{openIgnored: true}, oldSender},
		"made is not fenced":                    {protocol{madeUnfenced: true}, stranded},
		"no look at the clock":                  {protocol{clockless: true}, repeated},
		"no second look, nor at the clock":      {protocol{clockless: true, unheld: true}, repeated},
		"any token is taken back":               {protocol{serialIgnored: true, clockless: true}, repeated},
		"a first token is sent twice":           {protocol{nameKept: true}, twoTokens},
		"a token is made where none is seen":    {protocol{guessed: true}, twoTokens},
		"a transaction without the token":       {protocol{tokenless: true}, repeated},
		"the ACK outside of the transaction":    {protocol{ackOutside: true}, stranded},
		"the token outside of the transaction":  {protocol{tokenOutside: true}, repeated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range sizes {
				mutant := test.mutant
				mutant.workers, mutant.faults = size.workers, size.faults
				x, err := mutant.explore()
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), test.problem) {
					t.Errorf("not %q", test.problem)
				}
				t.Logf("%d to %d workers, up to %d faults, after %d states: %v", size.workers[0], size.workers[1], size.faults, len(x.nodes), err)
				return
			}
			t.Errorf("not caught")
		})
	}
}
