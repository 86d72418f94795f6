package stomp

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/jobs"
)

// surelyFits is the size of a frame that no broker is set up to refuse.
const surelyFits = 256 << 10

// probe finds out whether ActiveMQ Classic takes a frame as large as the largest of the messages, before it gets them.
// Beyond its limit (wireFormat.maxFrameSize) it sends an ERROR but reads on, in the middle of the body, and has been seen
// to take what it finds there for the next frame. A harmless body of that size, in a transaction that is given up, tells.
func (p *Publisher) probe(ctx context.Context, messages []jobs.Message) *jobs.PublishError {
	c := p.conn
	if c.server != classic {
		return nil
	}
	index, size := p.largest(messages)
	if size <= c.fits {
		return nil
	}
	receipt := p.nextReceipts(1)
	c.batch.expect(receipt, 1)
	err := p.sendProbe(ctx, receipt, &messages[index])
	if err == nil {
		err = c.await(1, p.cfg.ReceiptTimeout)
	}
	now := c.batch.result()
	if err == nil && now.clean() {
		c.fits = size
		return nil
	}
	answer := now.stray
	if answer == nil && len(now.refusals) > 0 {
		answer = now.refusals[0].err
	}
	failed := &jobs.PublishError{Fault: jobs.FaultConnection, Err: now.cause(err)}
	if answer != nil {
		failed.Fault, failed.Denied = answer.fault(), isDenied(answer)
		failed.Err = fmt.Errorf("a frame of %d bytes: %w", size, answer)
	}
	if failed.Fault == jobs.FaultMessage {
		failed.Refused = []jobs.Refusal{{Index: index, Reason: failed.Err.Error()}}
	}
	return failed
}

// largest returns the message with the largest frame, and a little more than that frame's size.
func (p *Publisher) largest(messages []jobs.Message) (index, size int) {
	for i := range messages {
		m := &messages[i]
		if m.Size() < surelyFits/4 { // at most three times as much with escapes
			continue
		}
		head := appendHead(p.buffer[:0], p.dialect, nil, p.receipt, m)
		if n := len(head) + len(p.dialect.body(m)) + probeReserve; n > size {
			index, size = i, n
		}
	}
	return index, size
}

// probeReserve is for what differs between the frame of a probe and that of its message.
const probeReserve = 100

func (p *Publisher) sendProbe(ctx context.Context, receipt uint64, m *jobs.Message) error {
	p.conn.writing.Lock()
	defer p.conn.writing.Unlock()
	id := strconv.FormatUint(receipt, 10)
	harmless := *m
	harmless.Body = bytes.Repeat([]byte("x"), len(p.dialect.body(m))+probeReserve)
	p.buffer = appendCommand(p.buffer[:0], frame.BEGIN, frame.Transaction, id)
	if err := p.sendMessage(ctx, []byte("transaction:"+id+"\n"), 0, &harmless); err != nil {
		return err
	}
	p.buffer = appendCommand(p.buffer, frame.ABORT, frame.Transaction, id, frame.Receipt, id)
	return p.flush(ctx)
}
