package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
)

// port is a loopback port kept for one server for as long as the value is in use, also while the server is down: see holdPort.
type port struct {
	number int
	held   *os.File // closed when the port is forgotten; nil where ports cannot be held
}

func (p port) addr() string { return loopback(p.number) }

func loopback(number int) string { return fmt.Sprintf("127.0.0.1:%d", number) }

// freePorts keeps n loopback ports that nobody uses. They lie below the range the kernel gives to outgoing connections,
// if there is room.
func freePorts(n int) ([]port, error) {
	const lowest = 10_000
	span := max(ephemeralStart()-lowest, 1000)
	var ports []port
	for range 1000 {
		if len(ports) == n {
			return ports, nil
		}
		number := lowest + rand.IntN(span)
		held, err := holdPort(number)
		if err != nil {
			continue
		}
		ports = append(ports, port{number: number, held: held})
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
