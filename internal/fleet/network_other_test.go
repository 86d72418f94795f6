//go:build !linux

package fleet

import (
	"errors"
	"net"
	"testing"
)

// cable does not exist here: see network_linux_test.go.
type cable struct{ address string }

func namespaceOf(int) string { return "" }

func buildNamespaces(*testing.T, int) bool { return false }

func lay(int, int, string) (*cable, error) { return nil, errors.ErrUnsupported }

func (*cable) listen(string) (net.Listener, error) { return nil, errors.ErrUnsupported }

func (*cable) breakSilently() error { return errors.ErrUnsupported }

func (*cable) pull() error { return errors.ErrUnsupported }

func (*cable) mend() error { return errors.ErrUnsupported }
