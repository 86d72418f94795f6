//go:build unix && !linux

package local

import (
	"net"
	"os"
)

// holdPort only looks whether the port is free: elsewhere than on Linux, a socket that held it would keep the server out.
func holdPort(number int) (*os.File, error) {
	l, err := net.Listen("tcp4", loopback(number))
	if err != nil {
		return nil, err
	}
	return nil, l.Close()
}
