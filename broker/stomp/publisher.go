package stomp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"modulo/jobs"
)

// Publisher is one worker's connection to the broker. It implements jobs.Publisher.
type Publisher struct {
	cfg     *Config
	host    int     // index of the host to try first: the last good one
	conn    *conn   // nil: not connected
	confirm Confirm // on this connection: Transaction or Receipt
	dialect dialect
	receipt uint64  // last id given to a receipt; never used twice, not even on another connection
	buffer  []byte  // frames on their way out
	keeper  *keeper // of the token; nil: none is wanted, or the broker allows none
}

// Connect opens the connection unless there is a living one. It tries every host once and does not pause.
func (p *Publisher) Connect(ctx context.Context) (jobs.Recall, error) {
	if p.conn != nil && p.conn.lost() == nil {
		return jobs.Recall{}, nil
	}
	p.abort(errLeft)
	var failures []error
	fault := jobs.FaultConnection
	for range p.cfg.Hosts {
		host := p.cfg.Hosts[p.host]
		recall, err := p.open(ctx, host)
		if err == nil {
			return recall, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", host, err))
		fault = max(fault, connectFault(err)) // what a person has to act on outweighs what may pass
		if ctx.Err() != nil {
			fault = jobs.FaultConnection
			break
		}
		p.host = (p.host + 1) % len(p.cfg.Hosts)
	}
	return jobs.Recall{}, &jobs.ConnectError{Fault: fault, Err: oneLine(failures)}
}

// open connects to a host and takes up the token, if there is to be one.
func (p *Publisher) open(ctx context.Context, host Host) (jobs.Recall, error) {
	c, err := dial(ctx, p.cfg, host)
	if err != nil {
		return jobs.Recall{}, err
	}
	confirm, err := c.server.confirmOn(p.cfg.Confirm)
	if err != nil {
		c.drop(err)
		return jobs.Recall{}, err
	}
	p.conn, p.confirm = c, confirm
	p.dialect = dialect{server: c.server, keepPrefix: p.cfg.KeepPrefix, javaText: c.javaText}
	if p.keeper == nil {
		return jobs.Recall{}, nil
	}
	unbind := context.AfterFunc(ctx, func() { c.cut(context.Cause(ctx)) })
	recall, err := p.recall(ctx)
	if !unbind() {
		err = context.Cause(ctx)
	}
	if err != nil {
		p.abort(err)
		return jobs.Recall{}, err
	}
	if p.keeper != nil {
		recall.SetBack = p.keeper.memory.tell()
	}
	return recall, nil
}

// recall takes up the token. Where the broker cannot keep one, or does not let us make the first one, the publisher goes
// on without, unless it is required.
func (p *Publisher) recall(ctx context.Context) (jobs.Recall, error) {
	var err error
	switch {
	case p.conn.server == artemis:
		err = p.cannotHold(ctx, fmt.Errorf("%w: ActiveMQ Artemis drops repeats only as far back as its cache of ids reaches; repeats has to be possible", errNoToken))
	case p.conn.server != classic:
		err = p.cannotHold(ctx, fmt.Errorf("%w: the broker is not ActiveMQ Classic; repeats has to be possible", errNoToken))
	case p.confirm != Transaction:
		err = p.cannotHold(ctx, fmt.Errorf("%w: confirm is %s; repeats has to be possible", errNoToken, p.confirm))
	default:
		rows, kept, holdErr := p.hold(ctx)
		if holdErr == nil {
			return jobs.Recall{Kept: kept, Rows: rows}, nil
		}
		if err = holdErr; !errors.Is(err, errTokenDenied) || p.keeper.claim.Made {
			return jobs.Recall{}, err
		}
	}
	if p.keeper.Required || p.keeper.claim.Made {
		return jobs.Recall{}, err
	}
	p.keeper = nil
	return jobs.Recall{Without: err.Error()}, nil
}

// cannotHold looks whether the worker has a token already: to go on without it would break a promise, which only
// `repeats: possible` takes back.
func (p *Publisher) cannotHold(ctx context.Context, why error) error {
	claim, err := p.keeper.Lineage.Claim(ctx)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	p.keeper.claim = claim
	if claim.Made {
		return fmt.Errorf("%w; the worker has a token elsewhere: state `repeats: possible` to go on without", why)
	}
	return why
}

// oneLine joins the errors of several hosts for a log line.
func oneLine(failures []error) error {
	joined := failures[0]
	for _, err := range failures[1:] {
		joined = fmt.Errorf("%w; %w", joined, err)
	}
	return joined
}

// Atomic says whether a refusal leaves nothing behind.
func (p *Publisher) Atomic() bool { return p.confirm == Transaction }

// Publish sends the messages and waits for the broker's receipts. After any error the connection is gone: what the
// broker still has of it in a buffer must not be mixed up with what is sent next.
func (p *Publisher) Publish(ctx context.Context, messages []jobs.Message, open []int64) error {
	if len(messages) == 0 {
		return nil
	}
	if p.conn != nil && p.keeper != nil {
		p.keeper.note(ctx)
	}
	return p.publish(ctx, messages, open)
}

// Forget empties the token, if it names rows. It also writes one anew that has become old: a message that lies in the
// broker's journal for ever keeps the files around it from being removed.
func (p *Publisher) Forget(ctx context.Context) error {
	if p.conn == nil || p.keeper == nil {
		return nil
	}
	if len(p.keeper.named) > 0 || time.Since(p.keeper.since) >= p.cfg.TokenRefresh {
		if err := p.publish(ctx, nil, nil); err != nil {
			return err
		}
	}
	p.keeper.note(ctx)
	return nil
}

func (p *Publisher) publish(ctx context.Context, messages []jobs.Message, open []int64) error {
	if refusals := checkAll(messages); len(refusals) > 0 {
		return &jobs.PublishError{Fault: jobs.FaultMessage, Refused: refusals,
			Err: fmt.Errorf("%d of %d messages cannot be sent, first: %s", len(refusals), len(messages), refusals[0].Reason)}
	}
	if ctx.Err() != nil {
		p.abort(context.Cause(ctx))
		return &jobs.PublishError{Fault: jobs.FaultConnection, Err: context.Cause(ctx)}
	}
	if p.conn == nil {
		return &jobs.PublishError{Fault: jobs.FaultConnection, Err: errNotConnected}
	}
	c := p.conn
	unbind := context.AfterFunc(ctx, func() { c.cut(context.Cause(ctx)) })
	err := p.probe(ctx, messages)
	switch {
	case err != nil:
	case p.confirm == Transaction:
		err = p.publishTransaction(ctx, messages, open)
	default:
		err = p.publishWindow(ctx, messages)
	}
	c.batch.settle()
	if ended := !unbind(); ended || err != nil {
		p.abort(errLeft)
	}
	p.shrink()
	if err == nil {
		return nil // not err: a nil pointer in an interface is not nil
	}
	err.Err = fmt.Errorf("%s: %w", c.host, err.Err)
	return err
}

// checkAll lists the messages that must not be sent. Nothing is on the wire yet.
func checkAll(messages []jobs.Message) []jobs.Refusal {
	var refusals []jobs.Refusal
	var last []jobs.Header
	for i := range messages {
		if err := check(&messages[i], last); err != nil {
			refusals = append(refusals, jobs.Refusal{Index: i, Reason: err.Error()})
			continue
		}
		last = messages[i].Headers
	}
	return refusals
}

// Close says goodbye and frees the connection. An error says that the broker did not answer the goodbye.
func (p *Publisher) Close() error {
	if p.conn == nil {
		return nil
	}
	c := p.conn
	p.conn = nil
	if p.keeper != nil {
		p.keeper.lose()
	}
	if c.lost() != nil {
		c.drop(errLeft)
		return nil
	}
	if err := c.leave(p.nextReceipts(1)); err != nil {
		return fmt.Errorf("disconnect: %w", err)
	}
	return nil
}

// abort drops the connection, if there is one.
func (p *Publisher) abort(cause error) {
	if p.keeper != nil {
		p.keeper.lose()
	}
	if p.conn != nil {
		p.conn.drop(cause)
		p.conn = nil
	}
}

// nextReceipts reserves n receipt ids and returns the first.
func (p *Publisher) nextReceipts(n int) (first uint64) {
	first = p.receipt + 1
	p.receipt += uint64(n)
	return first
}

// Frames are collected in one buffer per publisher and written when it holds bufferStep bytes. A body of largeBody or
// more is written from where it is.
const (
	bufferStep = 64 << 10
	largeBody  = 32 << 10
	keptBuffer = 256 << 10
)

// sendMessage adds a SEND frame to the buffer and writes the buffer when it is full. conn.writing is held.
func (p *Publisher) sendMessage(ctx context.Context, common []byte, receipt uint64, m *jobs.Message) error {
	p.buffer = appendHead(p.buffer, p.dialect, common, receipt, m)
	body := p.dialect.body(m)
	if len(body) < largeBody {
		p.buffer = append(p.buffer, body...)
		p.buffer = append(p.buffer, 0)
	} else {
		if err := p.flush(ctx); err != nil {
			return err
		}
		if err := p.conn.send(ctx, body); err != nil {
			return err
		}
		p.buffer = append(p.buffer, 0)
	}
	if len(p.buffer) < bufferStep {
		return nil
	}
	return p.flush(ctx)
}

// flush writes the buffer. conn.writing is held.
func (p *Publisher) flush(ctx context.Context) error {
	err := p.conn.send(ctx, p.buffer)
	p.buffer = p.buffer[:0]
	return err
}

// shrink frees a buffer that exceptional headers have made large, and forgets what was not written.
func (p *Publisher) shrink() {
	p.buffer = p.buffer[:0]
	if cap(p.buffer) > keptBuffer {
		p.buffer = nil
	}
}
