package stomp

import (
	"context"
	"fmt"
	"time"
)

// TokenName names a token queue.
type TokenName struct {
	Job     string
	Worker  int
	Lineage string
}

// Inspection is what a look at the broker found.
type Inspection struct {
	Address string
	Server  string        // kind of broker
	Version string        // as it names itself, as in "ActiveMQ/5.17.2"; empty: it does not
	Confirm Confirm       // on this broker
	Tokens  bool          // the broker can keep them
	Silence time.Duration // without a sign of the broker, or of us, the connection ends; 0: never
	Counts  []int         // of messages in the queues asked for, in their order; one is right
}

// Inspect logs in once and counts the messages in token queues, without taking any.
func (b *Broker) Inspect(ctx context.Context, tokens []TokenName) (Inspection, error) {
	p := &Publisher{cfg: &b.cfg}
	if _, err := p.Connect(ctx); err != nil {
		return Inspection{}, err
	}
	defer func() { _ = p.Close() }() // everything is read
	found := Inspection{
		Address: p.conn.host.String(), Server: p.conn.server.String(), Version: printable(p.conn.version), Confirm: p.confirm,
		Silence: p.conn.silence, Tokens: p.confirm == Transaction && p.conn.server == classic,
	}
	if !found.Tokens {
		return found, nil
	}
	for _, t := range tokens {
		queue := tokenQueue(b.cfg.TokenPrefix, t.Job, t.Worker, t.Lineage)
		count, err := p.browsePatiently(ctx, queue)
		if err != nil {
			return found, fmt.Errorf("browse %s: %w", queue, err)
		}
		found.Counts = append(found.Counts, count)
	}
	return found, nil
}

// browsePatiently looks again where it does not see one message: a token may have been replaced meanwhile.
func (p *Publisher) browsePatiently(ctx context.Context, queue string) (count int, err error) {
	for range browses {
		if count, err = p.browse(ctx, queue); err != nil || count == 1 {
			break
		}
	}
	return count, err
}
