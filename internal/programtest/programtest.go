// Package programtest lets tests run the built program, `modulo`, as a process between real servers: start it, stop it, kill
// it, pause it, read its log, and wait for what it should bring about.
package programtest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// binary is the path of the built program. It is global because tests have no other place in common: Main builds it once.
var binary string

// Main builds the program, runs the tests and stops the shared servers; it returns the exit code. For TestMain:
// os.Exit(programtest.Main(m)).
func Main(m *testing.M) (code int) {
	dir, err := local.TempDir("modulo-program-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}()
	binary = filepath.Join(dir, "modulo")
	if out, err := exec.Command("go", "build", "-o", binary, "modulo/cmd/modulo").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return testservers.Main(m)
}

// ShortOrLong picks what `make test` plays, on a machine that other tests share, or what `make chaos` does, which has it for itself.
func ShortOrLong[T any](short, long T) T {
	if os.Getenv("MODULO_CHAOS") == "long" {
		return long
	}
	return short
}

// Rand draws from the seed of MODULO_CHAOS_SEED, else from a new one, and says which.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64N(1_000_000)
	if text := os.Getenv("MODULO_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("MODULO_CHAOS_SEED: %v", err)
		}
	}
	t.Logf("MODULO_CHAOS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// UpTo draws a duration.
func UpTo(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most) + 1))
}

// Patience is how long tests of the program wait for what has to come. It is no promise of the product's, and costs nothing
// where it comes: on a busy machine that starts servers for other packages beside, a step may take a hundred times as long.
const Patience = 3 * time.Minute

// Await asks every so often until ready says yes; it gives up with ctx.
func Await(ctx context.Context, every time.Duration, ready func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Within is Await for a test: it fails the test after limit, and returns how long it took.
func Within(t testing.TB, limit time.Duration, what string, ready func() (bool, error)) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := Await(ctx, 20*time.Millisecond, ready); err != nil {
		t.Fatalf("%s within %s: %v", what, limit, err)
	}
	return time.Since(began)
}

// Pause lets time pass: a fault lasts, a moment is hit at random.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tokens says which promise is tested: no repeats, or as many as the faults explain.
var tokens = flag.Bool("tokens", true, "workers keep tokens on the broker; without, faults explain repeats")

// Repeats is what the jobs under test state as `repeats`.
func Repeats() string {
	if *tokens {
		return "none"
	}
	return "possible"
}

// Explained is how many repeats there may be where faults left so many rows open.
func Explained(rows int) int {
	if *tokens {
		return 0
	}
	return rows
}

// SharedSQL says whether $2 live instances own all workers of a generation of $1, evenly.
const SharedSQL = `select count(*) = $2 and sum(n) = $1 and max(n) - min(n) <= 1 from (
  select w.owner, count(*) as n
  from modulo.workers as w join modulo.jobs as j using (job, generation) join modulo.instances as i on i.instance = w.owner
  where j.workers = $1 and j.next_workers is null and i.expires_at > clock_timestamp() and i.max_workers is distinct from 0
  group by w.owner) as s`
