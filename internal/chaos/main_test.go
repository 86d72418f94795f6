package chaos

import (
	"fmt"
	"os"
	"testing"

	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

func TestMain(m *testing.M) {
	if err := testservers.AtATime(3); err != nil { // also on two cores: they wait half of the time
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(programtest.Main(m))
}
