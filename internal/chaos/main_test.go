package chaos

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

	"modulo/internal/testservers"
)

// program is the binary under test. It is global because tests have no other place in common: TestMain builds it once.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndTest(m)) }

func buildAndTest(m *testing.M) int {
	dir, err := os.MkdirTemp("", "modulo-chaos-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "modulo")
	if out, err := exec.Command("go", "build", "-o", program, "modulo/cmd/modulo").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	if err := moreParallel(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return testservers.Main(m)
}

// moreParallel lets three tests run at a time, also on two cores, unless -parallel says otherwise: they wait half of
// the time.
func moreParallel() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", "3")
}

// choose picks the value for `make test` or the one for `make chaos`.
func choose[T any](short, long T) T {
	if os.Getenv("MODULO_CHAOS") == "long" {
		return long
	}
	return short
}

// newRand draws from the seed of MODULO_CHAOS_SEED, else from a new one, and says which.
func newRand(t testing.TB) *rand.Rand {
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

// await asks every so often until ready says yes; it gives up with ctx.
func await(ctx context.Context, every time.Duration, ready func() (bool, error)) error {
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

// within is await for a test: it fails the test after limit, and returns how long it took.
func within(t testing.TB, limit time.Duration, what string, ready func() (bool, error)) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := await(ctx, 50*time.Millisecond, ready); err != nil {
		t.Fatalf("%s within %s: %v", what, limit, err)
	}
	return time.Since(began)
}

// pause lets time pass: a fault lasts, a moment is hit at random.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
