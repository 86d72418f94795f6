package fleet

import (
	"flag"
	"os"
	"testing"
	"time"

	"modulo/internal/programtest"
)

func TestMain(m *testing.M) { os.Exit(programtest.Main(m)) }

// The defaults suit a small machine that runs several tests at once; `make chaos` gives the others.
var (
	rate   = flag.Int("rate", 500, "rows inserted per second in each test of a fleet")
	lasts  = flag.Duration("storm", 8*time.Second, "how long the storm lasts; every fault strikes once at least")
	decks  = flag.Int("decks", 0, "how often all faults strike in the storm of servers, each by its share; 0: each of them once")
	change = flag.Duration("change", time.Second, "time from one change of K to the next")
	busy   = flag.Duration("busy", 30*time.Second, "what other work on the machine may add to a time")
)
