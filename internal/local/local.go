// Package local runs private PostgreSQL and ActiveMQ servers on loopback ports, for `modulo demo`, `modulo bench` and the
// tests. The servers use the programs that the system's packages installed, keep everything in a directory of the
// caller's, and end when this program ends, however it ends.
package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"
)

// ErrNotInstalled says that a server's programs are not on this machine; the error around it names the package.
var ErrNotInstalled = errors.New("not installed")

const (
	startLimit = 60 * time.Second // a server that is not ready by then is given up
	stopLimit  = 20 * time.Second // a server that has not stopped by then is killed
	logLines   = 20               // how much of a server's log an error shows
)

// TempDir makes a directory under os.TempDir that the server's user can enter too; the caller removes it.
func TempDir(pattern string) (string, error) {
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// freePorts returns n loopback ports that nobody listens on. They lie below the range the kernel gives to outgoing
// connections: there, a client that dials a stopped server could be given the server's port and connect to itself.
func freePorts(n int) ([]int, error) {
	const lowest = 10_000
	span := max(ephemeralStart()-lowest, 1000)
	var ports []int
	for range 1000 {
		if len(ports) == n {
			return ports, nil
		}
		port := lowest + rand.IntN(span)
		l, err := net.Listen("tcp4", loopback(port))
		if err != nil {
			continue
		}
		defer l.Close() // held until all are chosen, so that no port comes twice
		ports = append(ports, port)
	}
	return nil, errors.New("no free loopback port")
}

// ephemeralStart is where the kernel's range of ports for outgoing connections begins.
func ephemeralStart() int {
	const usual = 32768
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	var start int
	if _, err := fmt.Sscan(string(text), &start); err != nil {
		return usual
	}
	return start
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// await tries ready until it succeeds; it gives up when the process ends or ctx or the start limit is over.
func await(ctx context.Context, p *process, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("ended at once: %s%s", p.cmd.ProcessState, logTail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w: %w%s", ctx.Err(), err, logTail(p.log))
		}
	}
}

// logTail is the end of a server's log, fit to follow an error message. Of a Java exception it keeps what happened and
// leaves out where.
func logTail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "\tat ") && !strings.HasPrefix(line, "\t... ") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	lines = lines[max(0, len(lines)-logLines):]
	return "\nend of " + file + ":\n  " + strings.Join(lines, "\n  ")
}
