// Package jobs holds what Modulo does: a job's definition, its workers, one pass of a worker and the schedule that
// triggers passes. It knows neither PostgreSQL nor STOMP; the packages store and broker implement its interfaces.
package jobs

import (
	"math"
	"time"
)

// Limits of a job's settings. MaxWorkers keeps one batch per worker within the connections of one PostgreSQL server.
const (
	MaxWorkers = 1024
	MaxBatch   = 10_000
)

// Job is a named piece of work: which rows, when, by how many workers, sent where. It is not changed after Check.
type Job struct {
	Name     string
	Workers  int  // the wish for K
	Stated   bool // Workers was asked for; a default does not change the K in force
	Batch    int  // most rows fetched, sent and marked together
	Schedule Schedule
	// Listen begins passes when rows are inserted, too. Only with a schedule at intervals, which goes on.
	Listen bool
	Source Source
	// Ordered holds back the later rows of a key while an earlier one has failed. Needs Source.ShardBy.
	Ordered bool
	Message MessageSpec
	Retry   RetryPolicy
	Repeats Repeats
}

// Repeats says whether a row may be sent twice after a crash.
type Repeats string

const (
	RepeatsAuto     Repeats = ""         // not where the broker can keep a record of what it has
	RepeatsNone     Repeats = "none"     // never: a broker that cannot is refused
	RepeatsPossible Repeats = "possible" // the broker is asked for no record
)

// Source names the rows of a job: a table, its integer id, which rows are pending and what marks them done.
// Table and column names are data and get quoted; Where and DoneSet are SQL of the operator, never of a row.
type Source struct {
	Table   string // "schema.table" or "table"
	ID      string // integer column, unique
	Where   string // SQL condition of a pending row; DoneSet must make it false
	ShardBy string // column whose hash picks the worker; empty: the id itself
	DoneSet string // SQL assignments, as in "sent_at = now()"
}

// Shard is one worker of a job: it owns the rows where id % Of = Number.
type Shard struct {
	Number, Of int
	// Epoch grows with each change of owner; it fences what an earlier owner still writes. 0: a shard that nobody
	// owns, as in checks and tests; nothing is fenced.
	Epoch int64
}

// Owns says whether the shard owns an id, for every bigint: SQL and Go let % take the sign of the dividend,
// so the remainders Number and Number-Of belong to the same worker.
func (s Shard) Owns(id int64) bool {
	r := id % int64(s.Of)
	return r == int64(s.Number) || r == int64(s.Number-s.Of)
}

// FirstID is where a sweep over all pending rows starts.
const FirstID = math.MinInt64

// Row is one pending row. Its byte slices belong to the Batch it came in.
type Row struct {
	ID       int64
	Key      string   // text of the ShardBy column; empty when the job shards by id or the column is null
	Payload  []byte   // nil is SQL null
	Fields   [][]byte // text of MessageSpec.Fields, in their order; nil is SQL null
	Attempts int      // failed attempts so far; more than 0 only in rows from Failures.Due
	MarkOnly bool     // delivered or discarded before: needs its done mark, must not be sent
	// InsertedAt is the row's created_at by the clock of this process; zero where there is none.
	InsertedAt time.Time
}

// Batch is the rows of one fetch, in id order.
type Batch struct {
	Rows   []Row
	Binary bool // the payload column is bytea
	More   bool // the batch stopped at a limit: there may be more rows behind its last id
	// Free lets a later batch use the memory of this one, whose rows must not be looked at any more. It may be called from
	// any goroutine, once, or never. Nil: there is nothing to be gained.
	Free func()
}

// free is for a batch that nobody looks at any more.
func (b Batch) free() {
	if b.Free != nil {
		b.Free()
	}
}

// IDs lists the ids of the batch in order.
func (b Batch) IDs() []int64 {
	ids := make([]int64, len(b.Rows))
	for i := range b.Rows {
		ids[i] = b.Rows[i].ID
	}
	return ids
}

// RetryPolicy says how often and when a refused row is tried again.
type RetryPolicy struct {
	MaxAttempts int
	// Backoff doubles from Min to Max per attempt, with jitter that stays between them.
	MinBackoff, MaxBackoff time.Duration
}
