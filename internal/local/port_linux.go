package local

import (
	"fmt"
	"os"
	"syscall"
)

// holdPort takes a free loopback port with a socket that never listens: clients are refused as by a server that is down, and
// neither another program nor an outgoing connection can be given the port while the server restarts. The server itself
// can: to Linux, sockets that allow the reuse of their address are in each other's way only once one of them listens
// (inet_csk_bind_conflict in net/ipv4/inet_connection_sock.c). Ours allows it only after it has the port, so that two
// programs cannot hold the same.
func holdPort(number int) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	held := os.NewFile(uintptr(fd), loopback(number))
	err = os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrInet4{Port: number, Addr: [4]byte{127, 0, 0, 1}}))
	if err == nil {
		err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	}
	if err != nil {
		_ = held.Close()
		return nil, fmt.Errorf("hold %s: %w", loopback(number), err)
	}
	return held, nil
}
