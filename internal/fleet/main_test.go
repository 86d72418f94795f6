package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// program is the path of the built binary. It is global because only TestMain can build it for all tests.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) (code int) {
	dir, err := local.TempDir("modulo-fleet-*")
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
	program = filepath.Join(dir, "modulo")
	if out, err := exec.Command("go", "build", "-o", program, "modulo/cmd/modulo").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return testservers.Main(m)
}
