package stomp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// conn is one connection. From CONNECTED on a goroutine of its own reads, whether anybody waits or not: a broker that
// cannot get rid of its receipts stops reading.
type conn struct {
	host         Host
	net          net.Conn     // TCP or TLS
	tcp          *net.TCPConn // below net
	server       server
	version      string // as the broker names itself, as in "ActiveMQ/5.17.2"
	javaText     bool   // as of dialect
	fits         int    // size of a frame that the broker is known to take
	writeTimeout time.Duration
	silence      time.Duration // without a byte from the broker it is taken for dead; 0: never

	writing sync.Mutex // held from the first byte of a frame to its last

	batch batch         // what the answers are for
	mail  mailbox       // what the subscriptions brought
	ended chan struct{} // closed when the reader has ended; batch.lost says why
	alive sync.WaitGroup
}

func newConn(host Host, tcp *net.TCPConn, writeTimeout time.Duration) *conn {
	return &conn{
		host: host, net: tcp, tcp: tcp, fits: surelyFits, writeTimeout: writeTimeout,
		ended: make(chan struct{}), batch: batch{changed: make(chan struct{}, 1)}, mail: mailbox{changed: make(chan struct{}, 1)},
	}
}

// start begins reading and beating; drop ends both.
func (c *conn) start(r *frameReader, beat time.Duration) {
	c.alive.Go(func() { c.read(r) })
	if beat > 0 {
		c.alive.Go(func() { c.beat(beat) })
	}
}

// read hands what the broker says to the batch and the mailbox until the connection ends. It never waits for anything else.
func (c *conn) read(r *frameReader) {
	defer close(c.ended)
	for {
		f, err := r.next()
		if err != nil {
			c.cut(readError(err))
			return
		}
		switch f.command {
		case frame.RECEIPT:
			if id, ok := receiptID(f); ok {
				c.batch.confirm(id)
			}
		case frame.MESSAGE:
			c.mail.put(f)
		case frame.ERROR:
			id, _ := receiptID(f)
			if answer := newServerError(f); !c.batch.refuse(id, answer) {
				c.cut(answer) // nobody waits: not about a message, so about the connection
				return
			}
		}
	}
}

// receiptID returns the id of one of our receipts; anything else is nobody's.
func receiptID(f *inbound) (uint64, bool) {
	id, err := strconv.ParseUint(string(f.get(frame.ReceiptId)), 10, 64)
	return id, err == nil
}

// beat shows the broker that we are alive when nothing else is written.
func (c *conn) beat(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-tick.C:
			if !c.writing.TryLock() {
				continue // bytes are flowing, or stuck under a deadline
			}
			err := c.send(context.Background(), []byte{'\n'})
			c.writing.Unlock()
			if err != nil {
				c.cut(err)
				return
			}
		}
	}
}

const (
	writeStep = 256 << 10
	lastWords = 500 * time.Millisecond
)

// send writes b, asking ctx before each step: one that is under a lease may have ended while this process was paused.
// The broker must take writeStep bytes per write timeout. Where it has closed the connection, send lets
// the reader find out what it said before.
func (c *conn) send(ctx context.Context, b []byte) error {
	for len(b) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		step := b[:min(len(b), writeStep)]
		if err := c.net.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
			return err
		}
		if _, err := c.net.Write(step); errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w for %s", errStuck, c.writeTimeout)
		} else if err != nil {
			select {
			case <-c.ended:
			case <-time.After(lastWords):
			}
			return err
		}
		b = b[len(step):]
	}
	return nil
}

// Read sets the deadline by which the broker must show that it is alive. The frameReader reads through it.
func (c *conn) Read(b []byte) (int, error) {
	if c.silence > 0 {
		if err := c.net.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
			return 0, err
		}
	}
	return c.net.Read(b)
}

// cut ends the connection at once and for good, by RST: what the broker has not read yet it shall not read. The first
// cause counts. Safe for concurrent use.
func (c *conn) cut(cause error) {
	c.batch.lose(cause)
	_ = c.tcp.SetLinger(0) // a connection that is already down needs neither
	_ = c.tcp.Close()
}

// drop cuts the connection and waits until nothing of it is left.
func (c *conn) drop(cause error) {
	c.cut(cause)
	c.alive.Wait()
}

// lost returns why the connection ended, nil while it lives.
func (c *conn) lost() error { return c.batch.cause() }

// farewell is how long a broker has to answer DISCONNECT.
const farewell = 2 * time.Second

// leave says goodbye, so that the broker can tell it from a crash, and drops the connection.
func (c *conn) leave(receipt uint64) error {
	c.batch.expect(receipt, 1)
	c.writing.Lock()
	err := c.send(context.Background(), appendCommand(nil, frame.DISCONNECT, frame.Receipt, strconv.FormatUint(receipt, 10)))
	c.writing.Unlock()
	if err == nil {
		err = c.await(1, farewell)
	}
	c.drop(errLeft)
	return err
}
