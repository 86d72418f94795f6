package stomp

import (
	"context"
	"errors"
	"strconv"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/jobs"
)

// errRefusedEarly ends the writing of a batch that the broker has already refused.
var errRefusedEarly = errors.New("transaction given up before its COMMIT")

// publishTransaction sends the messages without receipts between BEGIN and COMMIT, and asks for one receipt, that of
// COMMIT: one disk sync for all. They are confirmed if that receipt comes and no ERROR of any kind came since BEGIN, as
// the broker commits a transaction without the messages whose frames it did not like. The token, if there is one, is
// replaced in the same transaction by one that names these rows and the open ones.
func (p *Publisher) publishTransaction(ctx context.Context, messages []jobs.Message, open []int64) *jobs.PublishError {
	c := p.conn
	receipt := p.nextReceipts(1)
	c.batch.expect(receipt, 1)
	committing, err := p.sendTransaction(ctx, receipt, messages, open)
	if err == nil {
		err = c.await(1, p.cfg.ReceiptTimeout)
	}
	now := c.batch.result()
	if err == nil && now.clean() {
		if p.keeper != nil {
			p.keeper.memory.confirm()
		}
		return nil
	}
	if p.keeper != nil && !now.clean() {
		p.keeper.doubted = true
	}
	fault, cause := jobs.FaultConnection, now.cause(err)
	switch {
	case err == nil && len(now.refusals) == 0 && p.keeper != nil: // committed, perhaps without some of the messages
		for i := range messages {
			p.keeper.disowned = append(p.keeper.disowned, messages[i].RowID)
		}
	case len(now.refusals) > 0: // of COMMIT: the broker has rolled back
		cause = now.refusals[0].err
		fault = now.refusals[0].err.fault()
	case now.stray != nil && !committing: // without COMMIT nothing is stored
		fault = now.stray.fault()
	case now.stray != nil && c.server == classic && now.stray.fault() == jobs.FaultBroker: // COMMIT will be refused
		fault = jobs.FaultBroker
	}
	// The refusal of a COMMIT does not repeat why a message was refused before.
	denied := fault == jobs.FaultMessage && (isDenied(cause) || now.stray != nil && isDenied(now.stray))
	return &jobs.PublishError{Fault: fault, Denied: denied, Err: cause}
}

// sendTransaction writes the whole transaction. committing says that COMMIT, or a part of it, may be on its way.
func (p *Publisher) sendTransaction(ctx context.Context, receipt uint64, messages []jobs.Message, open []int64) (committing bool, err error) {
	id := strconv.FormatUint(receipt, 10)
	if err := p.sendAll(ctx, id, messages); err != nil {
		return false, err
	}
	if p.keeper != nil {
		if err := p.awaitToken(ctx); err != nil {
			return false, err
		}
		if !p.conn.batch.result().clean() {
			return false, errRefusedEarly
		}
	}
	c := p.conn
	c.writing.Lock()
	defer c.writing.Unlock()
	if p.keeper != nil {
		p.buffer = p.keeper.appendSuccessor(p.buffer, p.dialect, id, messages, open)
	}
	p.buffer = appendCommand(p.buffer, frame.COMMIT, frame.Transaction, id, frame.Receipt, id)
	return true, p.flush(ctx)
}

// sendAll begins the transaction and sends the messages. The last of them stay in the buffer, unless the token is on its
// way back: what is written then tells the broker's TCP that we have read on, without which it may hold the token back
// for 40 ms.
func (p *Publisher) sendAll(ctx context.Context, id string, messages []jobs.Message) error {
	c := p.conn
	c.writing.Lock()
	defer c.writing.Unlock()
	common := append([]byte("transaction:"), id...)
	common = append(common, '\n')
	p.buffer = appendCommand(p.buffer, frame.BEGIN, frame.Transaction, id)
	for i := range messages {
		if err := p.sendMessage(ctx, common, 0, &messages[i]); err != nil {
			return err
		}
		if len(p.buffer) == 0 && !c.batch.result().clean() {
			break
		}
	}
	if !c.batch.result().clean() {
		return errRefusedEarly
	}
	if p.keeper != nil && p.keeper.away() && len(p.buffer) > 0 {
		return p.flush(ctx)
	}
	return nil
}
