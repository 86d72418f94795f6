package stomp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/jobs"
)

// ErrNoCanary says that on this kind of broker no message is tried.
var ErrNoCanary = errors.New("tried on ActiveMQ Classic only")

// errCanaryLost says that a confirmed message could not be read back.
var errCanaryLost = errors.New("the canary did not come back, although the broker had confirmed it")

// IsDenied says whether the broker refused access to a queue of Modulo's own: the login lacks a right.
func IsDenied(err error) bool { return errors.Is(err, errTokenDenied) }

const (
	canarySubscription = "canary"
	canaryPatience     = 10 * time.Second
	canaryLife         = 10 * time.Minute // older ones were left behind, and are taken by the next
	canaryText         = "canary of modulo doctor: taken at once, and safe to delete"
)

// Canary is a message as it came back from the broker.
type Canary struct {
	Queue      string
	Persistent bool
	Text       bool          // the broker keeps it as text, a TextMessage
	Took       time.Duration // from sending it until it was back
	// Skew is how much the broker's clock is ahead of ours, as far as it is certain; 0 where it may be right.
	Skew time.Duration
}

// canaryQueue has the prefix of token queues: whoever may use those may use it.
func (b *Broker) canaryQueue() string { return "/queue/" + b.cfg.TokenPrefix + "canary" }

// Canary sends a message as a worker does, reads it back from a queue of its own and takes it. ErrNoCanary: see there.
// IsDenied tells a lack of rights.
func (b *Broker) Canary(ctx context.Context) (canary Canary, err error) {
	p := &Publisher{cfg: &b.cfg}
	if _, err := p.Connect(ctx); err != nil {
		return Canary{}, err
	}
	defer func() { _ = p.Close() }() // nothing of it is left
	if p.conn.server != classic {
		return Canary{}, fmt.Errorf("canary on %s: %w", p.conn.server, ErrNoCanary)
	}
	canary.Queue = b.canaryQueue()
	id := rand.Text()
	sent := time.Now()
	if err := p.releaseCanary(ctx, canary.Queue, id); err != nil {
		return canary, fmt.Errorf("send canary: %w", err)
	}
	confirmed := time.Now()
	found, err := p.catchCanary(ctx, canary.Queue, id)
	if err != nil {
		return canary, fmt.Errorf("read canary: %w", err)
	}
	canary.Took = time.Since(sent)
	canary.Persistent = found.headers["persistent"] == "true"
	_, binary := found.headers[frame.ContentLength]
	canary.Text = !binary && found.body == canaryText
	canary.Skew = skewOf(found.headers["timestamp"], sent, confirmed)
	return canary, nil
}

func (p *Publisher) releaseCanary(ctx context.Context, queue, id string) error {
	m := jobs.Message{Destination: queue, EventID: []byte(id), Body: []byte(canaryText), Headers: []jobs.Header{{Name: "event_id", Value: []byte(id)}}}
	err := p.Publish(ctx, []jobs.Message{m}, nil)
	if failed, ok := errors.AsType[*jobs.PublishError](err); ok && failed.Fault == jobs.FaultMessage {
		return fmt.Errorf("%w: %w", errTokenDenied, failed.Err)
	}
	return err
}

// catchCanary takes the message, and those that others left behind.
func (p *Publisher) catchCanary(ctx context.Context, queue, id string) (found caught, err error) {
	c := p.conn
	receipt := p.nextReceipts(1)
	selector := fmt.Sprintf("event_id = '%s' OR JMSTimestamp < %d", id, time.Now().Add(-canaryLife).UnixMilli())
	err = p.converse(ctx, receipt, func() {
		p.buffer = appendCommand(p.buffer, frame.SUBSCRIBE, frame.Id, canarySubscription, frame.Destination, queue,
			frame.Ack, "auto", "selector", selector, frame.Receipt, fmt.Sprint(receipt))
	})
	if err == nil {
		err = c.nudge(ctx)
	}
	if err != nil {
		return caught{}, err
	}
	came, err := c.awaitMail(ctx, canaryPatience, func() (ok bool, _ error) {
		found, ok = c.mail.canary(id)
		return ok, nil
	})
	if err == nil && !came {
		err = fmt.Errorf("%w within %s", errCanaryLost, canaryPatience)
	}
	return found, err
}

// caught is a MESSAGE of the canary's subscription.
type caught struct {
	headers map[string]string
	body    string
}

func newCaught(f *inbound) caught {
	headers := map[string]string{}
	for _, h := range f.headers {
		if _, again := headers[string(h.name)]; !again {
			headers[string(h.name)] = string(h.value)
		}
	}
	return caught{headers, string(f.body)}
}

// canary returns the message with the id, if it has come.
func (m *mailbox) canary(id string) (caught, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.canaries {
		if c.headers["event_id"] == id {
			return caught{maps.Clone(c.headers), c.body}, true
		}
	}
	return caught{}, false
}

// skewOf compares a time of the broker, in milliseconds, with the two of ours that it must lie between.
func skewOf(stamp string, sent, confirmed time.Time) time.Duration {
	milliseconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return 0
	}
	at := time.UnixMilli(milliseconds)
	switch {
	case at.After(confirmed):
		return at.Sub(confirmed)
	case at.Before(sent.Truncate(time.Millisecond)):
		return at.Sub(sent.Truncate(time.Millisecond))
	}
	return 0
}
