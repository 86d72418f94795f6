package stomp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/jobs"
)

// TokenConfig makes a publisher keep a token: one persistent message in a queue of the worker's own, which each
// transaction replaces. Whoever holds it can send, nobody else; and it names the rows of the last transactions.
type TokenConfig struct {
	Job     string
	Shard   jobs.Shard
	Lineage Lineage
	// Required refuses brokers that cannot keep a token; otherwise there it goes without.
	Required bool
}

// Lineage is where it is written down which token of a worker counts: its name, new for each token that is made from
// nothing, is a part of the queue's name. Its calls are fenced: jobs.ErrFenced where another instance owns the worker.
type Lineage interface {
	// Claim returns the lineage that counts. Where none was made yet, it draws a new name, which counts once Made.
	Claim(ctx context.Context) (jobs.TokenClaim, error)
	// Made says that the queue holds the token of the lineage.
	Made(ctx context.Context, name string) error
	// Held says that this publisher holds the token, and nothing is wrong with it. Only from now on nobody else can send:
	// who owned the worker between Claim and the token's arrival may have sent rows that the caller knows nothing of.
	Held(ctx context.Context) error
	// Sent notes the serial of a token that the broker has confirmed, for Claim.
	Sent(ctx context.Context, serial int64) error
	// Report notes what is wrong with the token, for people.
	Report(ctx context.Context, problem string) error
}

var (
	errTokenGone   = errors.New("the token is gone from its queue")
	errTokenHeld   = errors.New("the token is held by a connection that the broker has not given up yet")
	errTokenAway   = errors.New("the token did not come back after a COMMIT")
	errTwoTokens   = errors.New("there is more than one token in the queue: a copy was made")
	errBrowse      = errors.New("the broker did not show the token queue to its end")
	errTokenDenied = errors.New("no access to the token queue")
)

const (
	tokenPatience  = 2 * time.Second        // for a token that nobody else holds
	browsePatience = 10 * time.Second       // for the answer to a browse
	browsePause    = 500 * time.Millisecond // between two browses that see nothing
	browses        = 3                      // that must see nothing before the token is taken for gone
	heldPatience   = 5 * time.Second        // for one that another connection holds
	heldLong       = 30 * time.Second       // beyond the broker's patience with a silent connection
)

const (
	tokenSubscription  = "token"
	browseSubscription = "browse"
)

// keeper holds the token of a worker on one connection after the other. Not safe for concurrent use.
type keeper struct {
	TokenConfig
	queue string // destination
	// doubted says that a transaction was refused, or was committed in part: the next connection renews the token, without
	// the disowned rows.
	doubted  bool
	disowned []int64
	held     time.Time // since when another connection has held it; zero: none has

	claim jobs.TokenClaim // of this connection; Made: going on without the token would give up a promise

	current token            // held, or written by the last COMMIT and on its way back
	ack     string           // id by which the held one is acknowledged; empty: on its way
	named   []jobs.Delivered // rows that current names, by id
	since   time.Time        // of current, here

	memory memory
}

// tokenQueue is a queue per lineage, so that installations that share a broker cannot meet.
func tokenQueue(prefix, job string, worker int, lineage string) string {
	return fmt.Sprintf("/queue/%s%s.%d.%s", prefix, job, worker, lineage)
}

// mailbox holds the MESSAGEs of a connection. The reader writes it, the publisher reads it.
type mailbox struct {
	mu      sync.Mutex
	tokens  []letter
	browse  string // subscription that browses
	browsed int    // messages it has brought
	ended   bool

	canaries []caught
	changed  chan struct{}
}

type letter struct {
	ack  string
	body []byte
}

// put keeps a MESSAGE. It copies what it keeps.
func (m *mailbox) put(f *inbound) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch subscription := string(f.get(frame.Subscription)); {
	case subscription == tokenSubscription:
		m.tokens = append(m.tokens, letter{string(f.get(frame.Ack)), slices.Clone(f.body)})
	case subscription == canarySubscription:
		m.canaries = append(m.canaries, newCaught(f))
	case subscription != m.browse: // of a browse that was given up
	case string(f.get("browser")) == "end":
		m.ended = true
	default:
		m.browsed++
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// take returns the token that has come, if one has.
func (m *mailbox) take() (l letter, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch len(m.tokens) {
	case 0:
		return letter{}, false, nil
	case 1:
		l, m.tokens = m.tokens[0], nil
		return l, true, nil
	}
	return letter{}, false, errTwoTokens
}

// awaitMail waits until done says so, the connection ends, or patience does.
func (c *conn) awaitMail(ctx context.Context, patience time.Duration, done func() (bool, error)) (bool, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if is, err := done(); is || err != nil {
			return is, err
		}
		select {
		case <-c.mail.changed:
		case <-c.ended:
			return false, c.lost()
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-timer.C:
			return done()
		}
	}
}

// nudge writes a line feed, which tells the broker's TCP that we have read what it sent: it may hold back what comes next
// for 40 ms otherwise.
func (c *conn) nudge(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.send(ctx, []byte{'\n'})
}

// hold gets the token on a new connection and returns the rows that it names. kept is false where the token was only
// made now, or the database has failed over since: of what was sent before nothing is known.
func (p *Publisher) hold(ctx context.Context) (rows []jobs.Delivered, kept bool, err error) {
	k := p.keeper
	claim, err := k.Lineage.Claim(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("token: %w", err)
	}
	k.queue, k.claim = tokenQueue(p.cfg.TokenPrefix, k.Job, k.Shard.Number, claim.Lineage), claim
	if !claim.Made {
		if err := p.makeToken(ctx); err != nil {
			return nil, false, err
		}
		if err := k.Lineage.Made(ctx, claim.Lineage); err != nil {
			return nil, false, fmt.Errorf("token: %w", err)
		}
		k.claim.Made = true
	}
	if err := p.fetchToken(ctx); err != nil {
		return nil, false, p.reportToken(ctx, err)
	}
	k.memory.compare(claim, k.current)
	if err := k.Lineage.Held(ctx); err != nil {
		return nil, false, fmt.Errorf("token: %w", err)
	}
	if err := p.renew(ctx); err != nil {
		return nil, false, err
	}
	if k.current.Timeline != claim.Timeline {
		return nil, false, nil // ids of another history of the database: they may be those of other rows now
	}
	return k.named, claim.Made, nil
}

// renew replaces the token alone after a transaction whose refusal may have been about the token, or that was committed
// although the broker complained about a frame: it goes on naming only what is known to be there. A new owner makes the
// token its own so, before it does anything: should it come back to an earlier one, that one does not take it.
func (p *Publisher) renew(ctx context.Context) error {
	k := p.keeper
	if !k.doubted && k.current.Epoch == k.Shard.Epoch {
		return nil
	}
	timeline := k.claim.Timeline
	var known []int64
	for _, row := range k.named {
		if !slices.Contains(k.disowned, row.RowID) {
			known = append(known, row.RowID)
		}
	}
	k.claim.Timeline = k.current.Timeline // the ids stay those of the database that they came from
	err := p.publishTransaction(ctx, nil, known)
	p.conn.batch.settle()
	k.claim.Timeline = timeline
	switch {
	case err == nil:
		k.doubted, k.disowned = false, nil
		if err := p.conn.nudge(ctx); err != nil {
			return err
		}
		return p.awaitToken(ctx)
	case err.Fault == jobs.FaultMessage:
		return p.reportToken(ctx, fmt.Errorf("%w: %w", errTokenDenied, err.Err))
	}
	return err.Err
}

// reportToken writes down what only a person can put right, as far as the database takes it, and returns the error.
func (p *Publisher) reportToken(ctx context.Context, err error) error {
	if needsPerson(err) {
		_ = p.keeper.Lineage.Report(ctx, err.Error()) // it is tried again with the next connection, and logged anyway
	}
	return err
}

// needsPerson says whether waiting cannot put a token right.
func needsPerson(err error) bool {
	return errors.Is(err, errTokenGone) || errors.Is(err, errTwoTokens) || errors.Is(err, errForeignToken) || errors.Is(err, errTokenDenied)
}

// makeToken sends the first token of a lineage.
func (p *Publisher) makeToken(ctx context.Context) error {
	k := p.keeper
	first := token{Format: tokenFormat, Job: k.Job, Worker: k.Shard.Number}.next(k.Shard, k.claim.Timeline, nil, time.Now())
	receipt := p.nextReceipts(1)
	return p.converse(ctx, receipt, func() {
		p.buffer = appendSend(p.buffer, p.dialect, nil, receipt, k.message(first))
	})
}

// message is the token as a message: a text, so that consoles show it.
func (k *keeper) message(t token) *jobs.Message {
	body, err := json.Marshal(t)
	if err != nil { // numbers and strings always can be
		body = nil
	}
	return &jobs.Message{Destination: k.queue, Body: body}
}

// converse writes what compose puts into the buffer and waits for its receipt.
func (p *Publisher) converse(ctx context.Context, receipt uint64, compose func()) error {
	c := p.conn
	c.batch.expect(receipt, 1)
	defer c.batch.settle()
	c.writing.Lock()
	p.buffer = p.buffer[:0]
	compose()
	err := p.flush(ctx)
	c.writing.Unlock()
	if err == nil {
		err = c.await(1, p.cfg.ReceiptTimeout)
	}
	now := c.batch.result()
	switch {
	case len(now.refusals) > 0:
		return denied(now.refusals[0].err)
	case now.stray != nil:
		return denied(now.stray)
	}
	return err
}

// denied marks the answer that a login has no right to a queue.
func denied(answer *ServerError) error {
	if answer.fault() == jobs.FaultMessage {
		return fmt.Errorf("%w: %w", errTokenDenied, answer)
	}
	return answer
}

// fetchToken subscribes to the token queue and waits for its one message. A prefetch of two makes a second one show.
func (p *Publisher) fetchToken(ctx context.Context) error {
	c, k := p.conn, p.keeper
	receipt := p.nextReceipts(1)
	err := p.converse(ctx, receipt, func() {
		p.buffer = appendCommand(p.buffer, frame.SUBSCRIBE, frame.Id, tokenSubscription, frame.Destination, k.queue,
			frame.Ack, "client-individual", "activemq.prefetchSize", "2", frame.Receipt, fmt.Sprint(receipt))
	})
	if err == nil {
		err = c.nudge(ctx)
	}
	if err != nil {
		return err
	}
	came, err := c.awaitMail(ctx, tokenPatience, k.arrived(c))
	for tries := 0; err == nil && !came; tries++ {
		count, browseErr := p.browse(ctx, k.queue)
		if browseErr != nil {
			return browseErr
		}
		there := count > 0
		patience := browsePause
		if there {
			patience = heldPatience
		}
		came, err = c.awaitMail(ctx, patience, k.arrived(c))
		switch {
		case came || err != nil:
		case there:
			return p.awaitHolder(ctx)
		case tries+1 >= browses:
			return fmt.Errorf("%w %s: purged, expired, sent with another broker.token_prefix, or the broker lost its store",
				errTokenGone, strings.TrimPrefix(k.queue, "/queue/"))
		}
	}
	if err != nil {
		return err
	}
	k.held = time.Time{}
	if count, err := p.browse(ctx, k.queue); err != nil || count > 1 { // nobody replaces it now: we hold it
		return cmp.Or(err, errTwoTokens)
	}
	return nil
}

// awaitHolder says that another connection has the token. One that goes on for longer than the broker needs to miss its
// heart-beats is written down, for people.
func (p *Publisher) awaitHolder(ctx context.Context) error {
	k := p.keeper
	if k.held.IsZero() {
		k.held = time.Now()
	}
	if time.Since(k.held) > heldLong+3*p.cfg.Heartbeat {
		_ = k.Lineage.Report(ctx, errTokenHeld.Error()) // it is logged anyway
	}
	return errTokenHeld
}

// browse counts the messages in a queue, also those that are with another connection. A broker that does not say in time
// that it has shown all is an error: what it has not shown may be there.
func (p *Publisher) browse(ctx context.Context, queue string) (count int, err error) {
	c := p.conn
	receipt := p.nextReceipts(1)
	id := fmt.Sprint(browseSubscription, receipt)
	c.mail.expectBrowse(id)
	err = p.converse(ctx, receipt, func() {
		p.buffer = appendCommand(p.buffer, frame.SUBSCRIBE, frame.Id, id, frame.Destination, queue,
			frame.Ack, "auto", "browser", "true", frame.Receipt, fmt.Sprint(receipt))
	})
	if err == nil {
		err = c.nudge(ctx)
	}
	if err != nil {
		return 0, err
	}
	ended, err := c.awaitMail(ctx, browsePatience, func() (ended bool, _ error) {
		count, ended = c.mail.browseResult()
		return ended, nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("%w within %s", errBrowse, browsePatience)
	}
	if err != nil {
		return 0, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	return count, c.send(ctx, appendCommand(nil, frame.UNSUBSCRIBE, frame.Id, id))
}

// expectBrowse begins a browse by this subscription.
func (m *mailbox) expectBrowse(subscription string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.browse, m.browsed, m.ended = subscription, 0, false
}

func (m *mailbox) browseResult() (count int, ended bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.browsed, m.ended
}

// arrived takes the token out of the mailbox, once it is there, and checks that it is the one that must come next.
func (k *keeper) arrived(c *conn) func() (bool, error) {
	return func() (bool, error) {
		l, ok, err := c.mail.take()
		if !ok || err != nil {
			return false, err
		}
		t, rows, err := readToken(l.body, k.Job, k.Shard.Number)
		if err != nil {
			return false, err
		}
		if expected := k.current; expected.Serial != 0 && (t.Serial != expected.Serial || t.Epoch != expected.Epoch) {
			return false, fmt.Errorf("%w: number %d of epoch %d came, not %d of %d", errTwoTokens, t.Serial, t.Epoch, expected.Serial, expected.Epoch)
		}
		k.current, k.named, k.ack, k.since = t, rows, l.ack, time.Now()
		return true, nil
	}
}

// lose forgets what was known through a connection that is gone.
func (k *keeper) lose() { k.current, k.named, k.ack = token{}, nil, "" }

// away says that the token of the last COMMIT is not back yet.
func (k *keeper) away() bool { return k.ack == "" }

// appendSuccessor appends the frames that replace the held token in a transaction. The new one names the rows of these
// messages and those that are open.
func (k *keeper) appendSuccessor(b []byte, d dialect, transaction string, messages []jobs.Message, open []int64) []byte {
	rows := make([]jobs.Delivered, 0, len(open)+len(messages))
	for _, id := range open {
		if at, known := slices.BinarySearchFunc(k.named, id, compareRow); known {
			rows = append(rows, k.named[at])
		}
	}
	for i := range messages {
		rows = append(rows, jobs.Delivered{RowID: messages[i].RowID, Event: jobs.EventSum(messages[i].EventID)})
	}
	slices.SortStableFunc(rows, func(a, b jobs.Delivered) int { return cmp.Compare(a.RowID, b.RowID) })
	rows = slices.CompactFunc(rows, func(a, b jobs.Delivered) bool { return a.RowID == b.RowID })
	b = append(b, "ACK\nid:"...)
	b = appendEscaped(b, k.ack)
	b = append(b, "\ntransaction:"...)
	b = append(b, transaction...)
	b = append(b, "\n\n\x00"...)
	now := time.Now()
	k.current, k.named, k.ack, k.since = k.current.next(k.Shard, k.claim.Timeline, rows, now), rows, "", now
	k.memory.ask(k.current.Serial, messages)
	return appendSend(b, d, []byte("transaction:"+transaction+"\n"), 0, k.message(k.current))
}

func compareRow(row jobs.Delivered, id int64) int { return cmp.Compare(row.RowID, id) }

// awaitToken waits until the token of the last COMMIT is back.
func (p *Publisher) awaitToken(ctx context.Context) error {
	c, k := p.conn, p.keeper
	if k.ack == "" {
		came, err := c.awaitMail(ctx, p.cfg.ReceiptTimeout, k.arrived(c))
		if err == nil && !came {
			err = fmt.Errorf("%w within %s", errTokenAway, p.cfg.ReceiptTimeout)
		}
		if err != nil {
			return p.reportToken(ctx, err)
		}
	}
	if _, second, err := c.mail.take(); err != nil || second {
		return p.reportToken(ctx, errTwoTokens)
	}
	return nil
}
