package protocol

import (
	"testing"
	"time"

	"modulo/internal/programtest"
)

// protocol is what is explored: the size, and what is left out of the protocol in a mutant.
type protocol struct {
	workers [2]uint8 // K of the first generation and of the one that is asked for
	faults  uint8    // at most, in one run of the world

	neverRecalled   bool // a successor does not mark what the token names
	doubtsForgotten bool // after a lost connection a worker sends again what has no receipt
	openUnnamed     bool // the token names the last batch only
	markedEarly     bool // rows are marked once they are sent
	fetchedEarly    bool // a successor fetches before it has the token
	forgottenEarly  bool // the token is emptied while rows have no mark
	calledSettled   bool // a release always says that nothing is unsettled
	unflagged       bool // taking a worker does not set its flag
	openIgnored     bool // a generation ends although the broker may hold rows without marks
	madeUnfenced    bool // Made asks neither for the owner nor for the name
	clockless       bool // no look at the clock between the token and a COMMIT
	unheld          bool // no second look at who owns the worker once the token is there
	serialIgnored   bool // any token is taken for the one that comes back after a COMMIT
	nameKept        bool // a token that was perhaps sent is sent again under the same name
	guessed         bool // a worker that sees no token makes one
	tokenless       bool // a worker neither waits for the token nor acknowledges it
	ackOutside      bool // the ACK is not a part of the transaction
	tokenOutside    bool // nor is the new token
}

// worlds are the changes of K, and how many faults are tried with each, in `make test` and at most.
var worlds = []struct {
	name        string
	workers     [2]uint8
	short, long uint8
}{
	{"1 worker", [2]uint8{1, 1}, 2, 4},
	{"1 to 2 workers", [2]uint8{1, 2}, 1, 2},
	{"2 to 1 worker", [2]uint8{2, 1}, 1, 2},
}

// No interleaving loses, repeats or strands a row.
func TestProtocol(t *testing.T) {
	t.Parallel()
	for _, world := range worlds {
		t.Run(world.name, func(t *testing.T) {
			t.Parallel()
			faults := programtest.ShortOrLong(world.short, world.long)
			began := time.Now()
			x, err := protocol{workers: world.workers, faults: faults}.explore()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("up to %d faults: %d states, %d steps, %d states with everything done, in %s", x.faults, len(x.nodes), x.steps, len(x.good),
				time.Since(began).Round(time.Millisecond))
		})
	}
}
