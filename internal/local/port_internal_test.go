package local

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestFreePortsLieBelowTheEphemeralOnes(t *testing.T) {
	t.Parallel()
	var kept []Port
	seen := map[int]bool{}
	for range 20 {
		p, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if p.number < 1024 || p.number >= ephemeralStart() || seen[p.number] {
			t.Errorf("port %d of %v", p.number, kept)
		}
		seen[p.number] = true
		kept = append(kept, p)
	}
}

// A port is kept while its server is down: it refuses clients, nobody else can hold it, and the server gets it back as
// often as it likes, also with connections of its last run not yet over.
func TestAPortIsKept(t *testing.T) {
	t.Parallel()
	p, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if other, err := holdPort(p.number); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("held twice: %v, %v", other, err)
		}
		if conn, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial without a server: %v, %v", conn, err)
		}
		server, err := net.Listen("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		accepted, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(accepted.Close(), server.Close()); err != nil { // the server's end now waits for the client's
			t.Fatal(err)
		}
	}
}

// Neither outgoing connections nor listeners that take any port are given one that is held.
func TestTheKernelGivesNoKeptPort(t *testing.T) {
	t.Parallel()
	kept := map[int]bool{}
	for number := ephemeralStart(); len(kept) < 1000 && number < 1<<16; number++ {
		if held, err := holdPort(number); err == nil {
			defer held.Close()
			kept[number] = true
		}
	}
	for range 300 { // of 28,000 ports the kernel has by default: without the holding, some would be ours
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, address := range []net.Addr{listener.Addr(), conn.LocalAddr()} {
			if port := address.(*net.TCPAddr).Port; kept[port] {
				t.Errorf("the kernel gave port %d to another socket", port)
			}
		}
	}
}
