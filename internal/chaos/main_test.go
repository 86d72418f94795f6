package chaos

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"modulo/internal/programtest"
)

func TestMain(m *testing.M) {
	if err := moreParallel(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(programtest.Main(m))
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
