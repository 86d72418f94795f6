package stomp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"modulo/jobs"
)

// publishWindow sends every message with a receipt of its own, up to Window of them unanswered. Each message has an
// outcome of its own.
func (p *Publisher) publishWindow(ctx context.Context, messages []jobs.Message) *jobs.PublishError {
	c := p.conn
	first := p.nextReceipts(len(messages))
	c.batch.expect(first, len(messages))
	err := p.sendWindow(ctx, first, messages)
	now := c.batch.result()
	if err == nil && now.clean() {
		return nil
	}
	failed := &jobs.PublishError{Fault: windowFault(now, err), Confirmed: c.batch.confirmations(), Err: now.cause(err)}
	for _, r := range now.refusals {
		if r.err.fault() == jobs.FaultMessage {
			failed.Refused = append(failed.Refused, jobs.Refusal{Index: r.index, Reason: r.err.Error()})
			failed.Denied = failed.Denied || isDenied(r.err)
		}
	}
	slices.SortFunc(failed.Refused, func(a, b jobs.Refusal) int { return cmp.Compare(a.Index, b.Index) })
	if len(now.refusals) > 0 && now.stray == nil {
		failed.Err = fmt.Errorf("%d of %d messages: %w", len(now.refusals), len(messages), now.refusals[0].err)
	}
	return failed
}

// windowFault says who is at fault for a batch that was not confirmed as a whole; err is where it ended on our side. Some
// brokers close the connection after an ERROR: that is part of the refusal.
func windowFault(now result, err error) jobs.Fault {
	if len(now.refusals) == 0 || now.stray != nil || errors.Is(err, errNoReceipt) || errors.Is(err, errStuck) {
		return jobs.FaultConnection
	}
	fault := jobs.FaultMessage
	for _, r := range now.refusals {
		switch r.err.fault() {
		case jobs.FaultConnection:
			return jobs.FaultConnection
		case jobs.FaultBroker:
			fault = jobs.FaultBroker
		}
	}
	return fault
}

// sendWindow writes the messages and waits for an answer to each. It refills the window with every answer: waiting for
// several would meet the 40 ms by which TCP delays the acknowledgement that ActiveMQ Classic waits for (Nagle).
func (p *Publisher) sendWindow(ctx context.Context, first uint64, messages []jobs.Message) error {
	for sent, answers := 0, 0; answers < len(messages); answers = p.conn.batch.result().answers {
		end := min(answers+p.cfg.Window, len(messages))
		if err := p.sendRange(ctx, first, messages, sent, end); err != nil {
			return err
		}
		sent = end
		if err := p.conn.await(answers+1, p.cfg.ReceiptTimeout); err != nil {
			return err
		}
	}
	return nil
}

// sendRange writes the messages from sent to end.
func (p *Publisher) sendRange(ctx context.Context, first uint64, messages []jobs.Message, sent, end int) error {
	p.conn.writing.Lock()
	defer p.conn.writing.Unlock()
	for i := sent; i < end; i++ {
		if err := p.sendMessage(ctx, nil, first+uint64(i), &messages[i]); err != nil {
			return err
		}
	}
	return p.flush(ctx)
}
