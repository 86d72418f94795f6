package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Rows is one worker's view of its source table. Its errors name the job, the worker and what was being done. Not safe
// for concurrent use, but that the stages of a pass run beside each other: one calls Fetch and Failures.Due in turn, one
// Failures.Park, one MarkDone and Failures.Park.
type Rows interface {
	// Fetch returns the worker's pending rows with id >= from, in id order, at most a batch. Rows with a record in
	// Failures are left out and so are, in an ordered job, the later rows of their keys. Rows are neither locked nor
	// claimed: the caller drops those it has in flight. ErrMoved: see there.
	Fetch(ctx context.Context, from int64) (Batch, error)

	// Pending returns the rows with these ids (sorted) that are pending still, in order, also those with a record in
	// Failures, unless it says that they were delivered: that much is known of them.
	Pending(ctx context.Context, ids []int64) (Batch, error)

	// MarkDone runs the done statement for the ids (sorted, distinct) in one statement. It is idempotent and not
	// fenced: who holds a receipt tells the truth. A *MarkRefused says that a row, not the database, is the cause,
	// ErrMoved that nothing was marked.
	MarkDone(ctx context.Context, ids []int64) error
}

// Failures is the record of rows that could not be delivered (table modulo.failures), as one worker sees it. Its
// errors are as those of Rows, and what runs beside what is said there.
type Failures interface {
	// Due returns the worker's failed rows with id >= from whose next attempt has come, and rows that only need their
	// mark (Row.MarkOnly), in id order, at most a batch. Due records of rows that are no longer pending are removed and
	// counted in cleared. Only Due and Settle remove records, so that the worker knows when a key is free again.
	Due(ctx context.Context, from int64) (due Batch, cleared int, err error)

	// Park writes or renews the records. It is fenced by the worker's epoch.
	Park(ctx context.Context, failures []Failure) error

	// Settle marks the rows done and removes their records, in one transaction. Errors as MarkDone.
	Settle(ctx context.Context, ids []int64) error
}

// Publisher is one worker's connection to the broker. Not safe for concurrent use.
type Publisher interface {
	// Connect opens the connection, trying the configured hosts in turn, once each, and tells what the broker recalls
	// of the worker. It does nothing, and tells nothing, when connected. Its error is a *ConnectError.
	Connect(ctx context.Context) (Recall, error)

	// Publish sends the messages in order and returns nil once the broker has confirmed every one. Otherwise it
	// returns a *PublishError; messages that it does not list have an unknown outcome: publish them again with the
	// same event id, unless a Recall says more. open are the rows confirmed before whose marks may be missing in the
	// database, which the broker is to recall as well. Ending ctx cuts the connection. Nothing passed is kept.
	Publish(ctx context.Context, messages []Message, open []int64) error

	// Forget says that all confirmed rows are marked: the broker need recall none of them. It also renews the publisher's record
	// where that has become old, so ask from time to time. Errors as Publish.
	Forget(ctx context.Context) error

	// Atomic says whether Publish delivers all messages or none, so that a refusal leaves nothing behind.
	// Valid once connected.
	Atomic() bool

	// Close says goodbye and frees the connection; the publisher can Connect again.
	Close() error
}

// Recall is what the broker knows of a worker when a connection opens. Nobody else can send for the worker from then on.
type Recall struct {
	// Kept says that the broker keeps a record: it holds the messages of Rows, and of the worker's other rows only
	// those that were marked, or open in an earlier Publish. False: nothing is known.
	Kept bool
	Rows []Delivered // by row id
	// Without is why the broker keeps no record although one was wanted; empty: it does, or none was.
	Without string
	SetBack SetBack
}

// SetBack is what a broker has lost of what it had confirmed: it has gone back to an earlier state of its store.
type SetBack struct {
	Transactions int64     // of the worker, at least; those that replaced only the token count too. 0: none is lost
	Since        time.Time // when the last one that is left was sent, by the clock of who sent it; zero: not known
	Rows         []int64   // of the lost messages, as far as the publisher remembers
	All          bool      // Rows names all of them
}

// Delivered is a row whose message the broker holds. Event tells it from another row that has the id at another time, as
// after a table was emptied or a database was set back.
type Delivered struct {
	RowID int64
	Event uint32 // EventSum
}

// EventSum is a sum over an event id: FNV-1a.
func EventSum(eventID []byte) uint32 {
	sum := uint32(2166136261)
	for _, c := range eventID {
		sum = (sum ^ uint32(c)) * 16777619
	}
	return sum
}

// TokenClaim says which token on the broker is a worker's record of what was sent, and what its rows' ids refer to.
type TokenClaim struct {
	Lineage  string // name of the token, new for each one that is made from nothing
	Made     bool   // it is on the broker; false: it is still to be made
	Serial   int64  // that it had at least when it was last noted; 0: not known
	Timeline int64  // of the database: grows with each fail-over
}

// Fault says who has to change something before a failed publish can succeed.
type Fault int

const (
	FaultConnection    Fault = iota // lost, cut or silent: outcome unknown, connect again after a pause
	FaultBroker                     // the broker has no room or no access to its store: nothing stored, wait
	FaultConfiguration              // login, rights, TLS, protocol version: nothing stored, a person has to act
	FaultMessage                    // the broker, alive, refused a message of this batch
)

func (f Fault) String() string {
	switch f {
	case FaultConnection:
		return "connection"
	case FaultBroker:
		return "broker"
	case FaultConfiguration:
		return "configuration"
	case FaultMessage:
		return "message"
	}
	return fmt.Sprintf("fault %d", int(f))
}

// ConnectError says why no host took the connection: FaultConnection, FaultBroker or FaultConfiguration.
type ConnectError struct {
	Fault Fault
	Err   error
}

func (e *ConnectError) Error() string { return fmt.Sprintf("connect (%s): %v", e.Fault, e.Err) }
func (e *ConnectError) Unwrap() error { return e.Err }

// PublishError says what is known of a batch that was not confirmed as a whole.
type PublishError struct {
	Fault Fault
	// Confirmed are the indexes the broker confirmed all the same (one receipt per message only).
	Confirmed []int
	// Refused are the indexes the broker refused for themselves. With FaultMessage and none listed, the whole batch
	// was refused, nothing of it is stored, and the culprit is to be found by publishing parts of it.
	Refused []Refusal
	// Denied says that the login lacks the right to write to a destination, which is the cause of the refusals.
	Denied bool
	Err    error
}

// Refusal is the broker's answer to one message.
type Refusal struct {
	Index  int
	Reason string
}

func (e *PublishError) Error() string { return fmt.Sprintf("publish (%s): %v", e.Fault, e.Err) }
func (e *PublishError) Unwrap() error { return e.Err }

// MarkRefused says that the database, alive, refused the done statement because of a row (a constraint, a trigger,
// a bad value). Nothing of the statement took effect.
type MarkRefused struct{ Err error }

func (e *MarkRefused) Error() string { return "done statement refused: " + e.Err.Error() }
func (e *MarkRefused) Unwrap() error { return e.Err }

// ErrFenced says that the worker's epoch is no longer the current one: another instance owns the worker.
var ErrFenced = errors.New("worker has another owner")

// ErrMoved says that the database is another server than the one the worker's rows came from, and may have missed what was
// committed last on that one. What is remembered of ids may be about other rows now: the worker forgets it and begins anew.
var ErrMoved = errors.New("the database is another server than before")

// Class is the kind of a failure: a small closed set, fit for a metric label.
type Class string

const (
	ClassInvalid    Class = "invalid_message" // a header, the body or a template cannot be sent as it is
	ClassTooLarge   Class = "too_large"       // body or header beyond the limit
	ClassNotAllowed Class = "not_allowed"     // destination outside of what the job allows
	ClassRefused    Class = "refused"         // the broker, alive, refused this message
	ClassUnmarkable Class = "unmarkable"      // delivered, but the done statement was refused for this row
)

// Classes lists them all.
func Classes() []Class {
	return []Class{ClassInvalid, ClassTooLarge, ClassNotAllowed, ClassRefused, ClassUnmarkable}
}

// Failure is a row that was refused for itself.
type Failure struct {
	RowID      int64
	Key        string
	EventID    string
	Class      Class
	Reason     string
	Attempts   int           // including this one
	RetryAfter time.Duration // 0: attempts are used up, a person decides
	Delivered  bool          // the broker holds the message; only the done mark is missing
}
