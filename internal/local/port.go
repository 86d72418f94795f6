package local

import (
	"fmt"
	"math/rand/v2"
	"os"
)

// Port is a loopback port kept for one server for as long as the value is in use, also while the server is down.
type Port struct {
	number int
	held   *os.File // closed when the port is forgotten; nil where ports cannot be held
}

// Addr is the address to listen on and to dial.
func (p Port) Addr() string { return loopback(p.number) }

func loopback(number int) string { return fmt.Sprintf("127.0.0.1:%d", number) }

// FreePort keeps a loopback port that nobody uses. It lies below the range the kernel gives to outgoing connections, if
// there is room.
func FreePort() (Port, error) {
	const lowest, attempts = 10_000, 1000
	span := max(ephemeralStart()-lowest, 1000)
	var err error
	for range attempts {
		number := lowest + rand.IntN(span)
		var held *os.File
		if held, err = holdPort(number); err == nil {
			return Port{number: number, held: held}, nil
		}
	}
	return Port{}, fmt.Errorf("no free loopback port in %d attempts: %w", attempts, err)
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
