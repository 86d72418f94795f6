package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Flow is what happens to the bytes of one direction.
type Flow struct {
	Delay          time.Duration // every byte arrives that much later: latency, at full throughput
	BytesPerSecond int           // 0: no limit
	Split          bool          // every byte is written by itself
	Stall          bool          // bytes are not taken: the sender's buffers fill up
	StallAfter     int64         // more than 0: so many bytes still arrive, counted as in Cut; then it is a Stall
	Drop           bool          // bytes are taken and never arrive, nor does the end of the connection
	Cut            *Cut
}

// Cut ends the connection that carries the byte, both ways and once.
type Cut struct {
	After int64 // bytes that still arrive, counted over all connections since Set
	How   End
}

// End is a way to end a connection.
type End int

const (
	FIN End = iota // as by a program that closes it, or ends
	RST            // as by a machine that has forgotten it
)

const (
	chunkSize = 16 << 10
	inFlight  = 512 // chunks of a delayed direction that are on their way at most
	lingering = time.Second
)

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server *net.TCPConn
	left           atomic.Bool // the client has gone
	once           sync.Once
	ended          chan struct{}
}

// chunk is what was read at once: bytes, or an RST.
type chunk struct {
	bytes []byte
	due   time.Time
	reset bool
}

func newLink(p *Proxy, client, server *net.TCPConn) *link {
	return &link{proxy: p, client: client, server: server, ended: make(chan struct{})}
}

// run carries bytes until the link has ended.
func (l *link) run() {
	var carrying sync.WaitGroup
	for _, way := range []struct {
		d        direction
		from, to *net.TCPConn
	}{{up, l.client, l.server}, {down, l.server, l.client}} {
		line := make(chan chunk, inFlight)
		carrying.Go(func() { l.take(way.d, way.from, line) })
		carrying.Go(func() { l.deliver(way.d, way.to, line) })
	}
	carrying.Wait()
	_ = l.client.Close() // what was to be said is said
	_ = l.server.Close()
}

// end ends both sides. After FIN what still comes is read and dropped for a while: closing a socket with unread bytes
// would be an RST.
func (l *link) end(how End) {
	l.once.Do(func() {
		close(l.ended)
		if how == RST {
			reset(l.client)
			reset(l.server)
			return
		}
		for _, c := range []*net.TCPConn{l.client, l.server} {
			_ = c.CloseWrite() // an error is a side that is gone already
			_ = c.SetDeadline(time.Now().Add(lingering))
		}
	})
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// take reads from one side and puts the bytes on the line. Once the link has ended it reads and drops.
func (l *link) take(d direction, from *net.TCPConn, line chan<- chunk) {
	defer close(line)
	for {
		flow, _ := l.await(d, func(f Flow) bool { return !f.Stall })
		b := make([]byte, chunkSize)
		n, err := from.Read(b)
		if err != nil && d == up {
			l.left.Store(true)
		}
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			select {
			case line <- chunk{b[:n], time.Now().Add(flow.Delay), n == 0}:
			case <-l.ended:
			}
		}
		if err != nil {
			return
		}
	}
}

// await waits until the direction is as it should be. It returns false if the link has ended.
func (l *link) await(d direction, fits func(Flow) bool) (Flow, bool) {
	for {
		flow, changed := l.proxy.flow(d)
		select {
		case <-l.ended:
			return flow, false
		default:
		}
		if fits(flow) {
			return flow, true
		}
		select {
		case <-changed:
		case <-l.ended:
		}
	}
}

// deliver writes what is on the line to the other side, and hands on how it ends.
func (l *link) deliver(d direction, to *net.TCPConn, line <-chan chunk) {
	for c := range line {
		if !l.until(c.due) {
			continue // ended: drop the rest
		}
		for {
			flow, ok := l.await(d, func(f Flow) bool { return !f.Stall && (!c.reset || !f.Drop) })
			if !ok {
				break
			}
			if c.reset {
				l.end(RST)
				break
			}
			pass, cut := l.proxy.allow(d, len(c.bytes))
			if !flow.Drop && !l.write(to, c.bytes[:pass], flow) {
				l.end(RST) // the receiver is gone
			}
			if cut != nil {
				l.end(cut.How)
			}
			if c.bytes = c.bytes[pass:]; len(c.bytes) == 0 {
				break
			}
		}
	}
	if _, ok := l.await(d, func(f Flow) bool { return !f.Stall && !f.Drop }); ok {
		_ = to.CloseWrite() // an error is a side that is gone already
	}
}

// until waits; it returns false if the link ends first.
func (l *link) until(due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ended:
		return false
	}
}

// write writes b; it returns false if the receiver is gone.
func (l *link) write(to *net.TCPConn, b []byte, flow Flow) bool {
	step := len(b)
	if flow.Split {
		step = 1
	}
	for len(b) > 0 {
		n := min(step, len(b))
		if _, err := to.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
		if flow.BytesPerSecond > 0 && !l.until(time.Now().Add(time.Second*time.Duration(n)/time.Duration(flow.BytesPerSecond))) {
			return true
		}
	}
	return true
}
