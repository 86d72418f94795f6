package alerts

import (
	"os"
	"testing"

	"modulo/internal/programtest"
)

func TestMain(m *testing.M) { os.Exit(programtest.Main(m)) }
