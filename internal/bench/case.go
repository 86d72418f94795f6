package bench

import (
	"fmt"
	"math"
	"time"
)

// Kind is what a case measures.
type Kind string

const (
	Ceiling  Kind = "ceiling"  // the broker alone: frames that were encoded before
	Database Kind = "database" // the database alone: fetch and mark
	Modulo   Kind = "modulo"   // the program, as a process of its own
	Original Kind = "original" // Java, JDBC and JMS, row by row
	Plain    Kind = "plain"    // Go: for update skip locked, a receipt per message, a transaction per batch
	River    Kind = "river"    // a job of River per message
)

// Confirm is how messages are confirmed: see docs/configuration.md.
const (
	Transaction = "transaction"
	Receipt     = "receipt"
)

// Task is what a case has to do.
type Task string

const (
	Drain Task = "drain" // rows that are all there, as fast as it can
	Pace  Task = "pace"  // rows that come one by one, at random times and in transactions of their own
	Idle  Task = "idle"  // nothing
)

// Case is one thing to measure, and what came out.
type Case struct {
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	Task    Task   `json:"task"`
	Workers int    `json:"workers"`
	Confirm string `json:"confirm,omitempty"`
	// Tokens says that repeats are excluded: the broker keeps a token per worker.
	Tokens bool `json:"tokens,omitempty"`
	Batch  int  `json:"batch,omitempty"`
	// Listen says that inserts wake the workers, who else look every half second.
	Listen  bool          `json:"listen,omitempty"`
	Payload int           `json:"payload_bytes"`
	Delay   time.Duration `json:"-"` // of everything that the broker says
	DelayMS float64       `json:"confirmation_delay_ms,omitempty"`
	Rounds  []Round       `json:"rounds"`
	Median  Round         `json:"median"`

	rows int // of a round
}

// window is how many messages are unanswered at most where each has a receipt: the program's default.
const window = 256

// warmUp is how many rows the first round takes: enough to tell how fast the case is.
func (c *Case) warmUp(most int) int {
	rows := 1000 * c.Workers
	switch {
	case c.Delay > 0 && c.Batch == 1:
		rows = 20 * c.Workers
	case c.Delay > 0 && c.Confirm == "":
		rows = 50 * c.Workers
	case c.Confirm != Receipt && (c.Kind == Ceiling || c.Kind == Modulo || c.Kind == Database):
		rows = max(30_000, rows)
	}
	return min(rows, most)
}

// size is how many rows a round takes at this rate: whole batches of all workers, where there are several of them.
func (c *Case) size(rate float64, most int, roundTime time.Duration) int {
	rows := min(int(math.Ceil(rate*roundTime.Seconds())), most)
	if whole := c.Workers * max(c.Batch, 1); rows > whole {
		rows -= rows % whole
	}
	return max(rows, 1)
}

func (c *Case) needsTable() bool { return c.Kind != Ceiling }

// delivers says whether the queue gets the rows.
func (c *Case) delivers() bool { return c.Kind != Database }

// name puts the name of a case together from what tells it from others.
func (c *Case) name() string {
	name := fmt.Sprintf("%s K=%d", c.Kind, c.Workers)
	if c.Confirm != "" {
		name += " " + c.Confirm
	}
	if (c.Kind == Modulo || c.Kind == Ceiling) && c.Confirm == Transaction && c.Tokens != (c.Kind == Modulo) {
		name += map[bool]string{true: " tokens", false: " no tokens"}[c.Tokens]
	}
	if c.Kind == Modulo && c.Batch != defaultBatch {
		name += fmt.Sprintf(" batch %d", c.Batch)
	}
	if c.Payload != defaultPayload {
		name += fmt.Sprintf(" %d B", c.Payload)
	}
	if c.Delay > 0 {
		name += " " + c.Delay.String()
	}
	if c.Task != Drain {
		name += " " + string(c.Task)
	}
	if c.Listen {
		name += ", listen"
	}
	return name
}
