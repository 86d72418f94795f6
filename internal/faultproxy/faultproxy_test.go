package faultproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modulo/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that returns what it gets; got ends with how each connection ended.
func echo(t *testing.T) (addr string, ended <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ends, done := make(chan error, 16), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, err = io.Copy(c, c)
			ends <- err
			c.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String(), ends
}

// start returns a proxy in front of an echo server and a client connected through it.
func start(t *testing.T, f faultproxy.Faults) (*faultproxy.Proxy, *net.TCPConn, <-chan error) {
	t.Helper()
	addr, ended := echo(t)
	p, err := faultproxy.Start(addr)
	if err != nil {
		t.Fatal(err)
	}
	p.Set(f)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return p, c.(*net.TCPConn), ended
}

// exchange writes text, closes the writing side and returns what comes back until the end.
func exchange(t *testing.T, c *net.TCPConn, text []byte) ([]byte, error) {
	t.Helper()
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(text)
		written <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	<-written // a cut connection may take less than all
	return got, err
}

func TestCarriesFaithfully(t *testing.T) {
	t.Parallel()
	for name, flow := range map[string]faultproxy.Flow{
		"plain": {}, "split": {Split: true}, "delay": {Delay: 20 * time.Millisecond}, "throttle": {BytesPerSecond: 10 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, c, _ := start(t, faultproxy.Faults{Up: flow, Down: flow})
			sent := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
			got, err := exchange(t, c, sent)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("got %d of %d bytes back: %v", len(got), len(sent), err)
			}
			if up, down := p.Carried(); up != int64(len(sent)) || down != int64(len(sent)) {
				t.Errorf("carried %d up, %d down", up, down)
			}
		})
	}
}

// A delay costs latency, not throughput: a megabyte arrives one delay later, not one delay per chunk.
func TestDelay(t *testing.T) {
	t.Parallel()
	const delay = 200 * time.Millisecond
	_, c, _ := start(t, faultproxy.Faults{Down: faultproxy.Flow{Delay: delay}})
	began := time.Now()
	if got, err := exchange(t, c, make([]byte, 1<<20)); err != nil || len(got) != 1<<20 {
		t.Fatalf("got %d bytes: %v", len(got), err)
	}
	if took := time.Since(began); took < delay || took > 60*delay { // one per chunk would be 64 and more
		t.Errorf("took %s", took)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, after := range []int64{0, 1, 7, 8} {
		for _, how := range []faultproxy.End{faultproxy.FIN, faultproxy.RST} {
			p, c, ended := start(t, faultproxy.Faults{Down: faultproxy.Flow{Cut: &faultproxy.Cut{After: after, How: how}}})
			got, err := exchange(t, c, []byte("12345678"))
			if how == faultproxy.FIN && (err != nil || int64(len(got)) != after) {
				t.Errorf("FIN after %d: got %q, %v", after, got, err)
			}
			if how == faultproxy.RST && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("RST after %d: got %q, %v", after, got, err)
			}
			<-ended
			again, err := net.Dial("tcp", p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := exchange(t, again.(*net.TCPConn), []byte("again")); string(got) != "again" || err != nil {
				t.Errorf("connection after the cut: %q, %v", got, err)
			}
			again.Close()
		}
	}
}

func TestStallAndDropAtRunTime(t *testing.T) {
	t.Parallel()
	p, c, _ := start(t, faultproxy.Faults{Up: faultproxy.Flow{Stall: true}})
	silent := func() {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %d bytes, %v", n, err)
		}
	}
	hear := func(want string) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	write := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	write("late")
	silent()
	p.Set(faultproxy.Faults{})
	hear("late")
	p.Set(faultproxy.Faults{Down: faultproxy.Flow{Drop: true}})
	write("gone")
	for down := int64(0); down < int64(len("gone")); _, down = p.Carried() {
		silent() // until it is dropped
	}
	p.Set(faultproxy.Faults{})
	write("here")
	hear("here")
	p.Set(faultproxy.Faults{Up: faultproxy.Flow{StallAfter: 3}})
	write("early")
	hear("ear")
	silent()
	p.Set(faultproxy.Faults{})
	hear("ly")
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	p, _, _ := start(t, faultproxy.Faults{})
	p.Set(faultproxy.Faults{Refuse: true})
	c, err := net.Dial("tcp", p.Addr())
	if err == nil { // the reset may come after the handshake or end it
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v", err)
	}
	if n := p.Accepted(); n < 1 { // another test may knock at what was its port
		t.Errorf("%d connections came", n)
	}
}

// A client that is gone by RST is so for the server.
func TestHandsOnReset(t *testing.T) {
	t.Parallel()
	_, c, ended := start(t, faultproxy.Faults{})
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("server saw %v", err)
	}
}
