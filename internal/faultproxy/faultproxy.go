// Package faultproxy is a TCP proxy for tests. It carries connections to a server and breaks them the ways networks and
// machines do: cut after a byte, by FIN or RST, delayed, throttled, torn into single bytes, stalled, silent.
package faultproxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// Faults is what the proxy does to connections. The zero value carries everything faithfully.
type Faults struct {
	Refuse   bool // resets new connections as soon as they are accepted
	Up, Down Flow // client to server, server to client
}

// Silent is a network that carries nothing any more and tells nobody.
func Silent() Faults { return Faults{Up: Flow{Stall: true}, Down: Flow{Stall: true}} }

// Proxy carries connections from Addr to its target. Its methods are safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	faults  Faults
	carried [2]int64      // bytes since Set, by direction
	came    int           // connections since Set
	changed chan struct{} // closed by the next Set
	links   map[*link]struct{}
	closed  bool
}

// direction indexes what a link has twice.
type direction int

const (
	up direction = iota
	down
)

// Start returns a proxy to target, "host:port", on a free loopback port.
func Start(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	return On(listener, target), nil
}

// On is Start for clients that come to a TCP listener of the caller's; Close closes it.
func On(listener net.Listener, target string) *Proxy {
	p := &Proxy{target: target, listener: listener, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.running.Go(p.accept)
	return p
}

// Addr is where clients connect, "host:port".
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set replaces the faults, for existing connections too, and starts counting bytes anew.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.carried, p.came = f, [2]int64{}, 0
	close(p.changed)
	p.changed = make(chan struct{})
}

// Carried returns how many bytes have arrived in each direction since the last Set.
func (p *Proxy) Carried() (up, down int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.carried[0], p.carried[1]
}

// Accepted returns how many connections have come since the last Set, refused ones included.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.came
}

// Links returns the number of connections that their clients have not ended.
func (p *Proxy) Links() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if !l.left.Load() {
			n++
		}
	}
	return n
}

// CutAll ends all connections now.
func (p *Proxy) CutAll(how End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.end(how)
	}
}

// Close ends everything and returns when nothing is left. Its port refuses from then on. A second Close does nothing.
func (p *Proxy) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	var err error
	if first {
		err = p.listener.Close()
		p.CutAll(RST)
	}
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // as of a client that was gone before
		}
		p.running.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	p.mu.Lock()
	p.came++
	p.mu.Unlock()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	l := newLink(p, client, server.(*net.TCPConn))
	p.mu.Lock()
	if p.closed || p.faults.Refuse {
		l.end(RST)
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	l.run()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// flow returns what to do in a direction and a channel that is closed when that changes.
func (p *Proxy) flow(d direction) (Flow, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := *p.flowOf(d)
	f.Stall = f.Stall || f.StallAfter > 0 && p.carried[d] >= f.StallAfter
	return f, p.changed
}

func (p *Proxy) flowOf(d direction) *Flow {
	if d == up {
		return &p.faults.Up
	}
	return &p.faults.Down
}

// allow says how many of n bytes may pass before the link is cut or stalls, and whether it is to be cut then. A cut
// happens once.
func (p *Proxy) allow(d direction, n int) (pass int, cut *Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.flowOf(d)
	pass = n
	if f.StallAfter > 0 {
		pass = int(max(0, min(int64(n), f.StallAfter-p.carried[d])))
	}
	if f.Cut != nil && p.carried[d]+int64(pass) >= f.Cut.After {
		pass = int(f.Cut.After - p.carried[d])
		cut, f.Cut = f.Cut, nil
	}
	p.carried[d] += int64(pass)
	return pass, cut
}
