package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ceiling is what the broker takes at most: the frames that Modulo would send, encoded before, written batch by batch in
// one call, on a connection per worker. As in Modulo at most two batches are without their receipt.
type ceiling struct {
	*stage
	*Case
	wires   []*wire
	batches [][]packet // per worker
	serial  int64      // of events, over all rounds
}

// packet is what is written at once, and how many receipts it asks for.
type packet struct {
	bytes    []byte
	receipts int
}

func (c *ceiling) open(ctx context.Context) (int, error) {
	for range c.Workers {
		w, err := connectWire(ctx, c.hosts)
		if err != nil {
			return 0, err
		}
		c.wires = append(c.wires, w)
	}
	return 0, nil
}

// fill encodes the frames.
func (c *ceiling) fill(_ context.Context, rows int) error {
	c.batches = make([][]packet, c.Workers)
	for worker := range c.Workers {
		receipt := 1
		for batch := range slices.Chunk(c.events(worker, rows), c.Batch) {
			for _, p := range c.encode(receipt, batch) {
				c.batches[worker] = append(c.batches[worker], p)
				receipt += p.receipts
			}
		}
	}
	c.serial += int64(rows)
	return nil
}

// events are the rows of a worker: K apart, as in Modulo.
func (c *ceiling) events(worker, rows int) (list []event) {
	payload := bytes.Repeat([]byte("x"), c.Payload)
	for row := c.serial + int64(worker); row < c.serial+int64(rows); row += int64(c.Workers) {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", row)
		list = append(list, event{c.queue(), id, row, worker, c.Workers, payload})
	}
	return list
}

// encode returns a batch as one packet, or with receipts as packets of half a window.
func (c *ceiling) encode(receipt int, batch []event) (packets []packet) {
	if c.Confirm == Transaction {
		p := packet{fmt.Appendf(nil, "BEGIN\ntransaction:%d\n\n\x00", receipt), 1}
		for _, e := range batch {
			p.bytes = appendFrame(p.bytes, fmt.Sprintf("transaction:%d\n", receipt), 0, e)
		}
		p.bytes = fmt.Appendf(p.bytes, "COMMIT\ntransaction:%d\nreceipt:%d\n\n\x00", receipt, receipt)
		return []packet{p}
	}
	for part := range slices.Chunk(batch, window/2) {
		p := packet{receipts: len(part)}
		for _, e := range part {
			p.bytes = appendFrame(p.bytes, "", receipt, e)
			receipt++
		}
		packets = append(packets, p)
	}
	return packets
}

func (c *ceiling) drain(ctx context.Context) error {
	problems := make([]error, len(c.wires))
	var running sync.WaitGroup
	for worker, w := range c.wires {
		running.Go(func() {
			defer context.AfterFunc(ctx, w.cut)()
			problems[worker] = w.replay(c.batches[worker])
		})
	}
	running.Wait()
	return errors.Join(problems...)
}

// replay writes the packets, the next one while the one before waits for its receipts.
func (w *wire) replay(packets []packet) error {
	open := make(chan int, 1) // receipts of packets that were written; with the one that is waited for, two
	waited := make(chan error, 1)
	go func() {
		var err error
		for n := range open {
			if err == nil {
				if err = w.awaitReceipts(n); err != nil {
					w.cut()
				}
			}
		}
		waited <- err
	}()
	var err error
	for _, p := range packets {
		if _, err = w.Write(p.bytes); err != nil {
			break
		}
		open <- p.receipts
	}
	close(open)
	return errors.Join(<-waited, err)
}

func (c *ceiling) pace(context.Context, time.Duration) (paced, error) {
	return paced{}, errNoRows
}

// errNoRows says that a ceiling has no rows that could be late.
var errNoRows = errors.New("a ceiling has no latency")

func (c *ceiling) process() int { return 0 }

func (c *ceiling) allocations(context.Context) (float64, bool, error) { return 0, false, nil }

func (c *ceiling) shut() error {
	var problems []error
	for _, w := range c.wires {
		problems = append(problems, w.leave())
	}
	c.wires, c.batches = nil, nil
	return errors.Join(problems...)
}

func (c *ceiling) close() error { return nil }
