package stomp

import (
	"context"
	"slices"
	"time"

	"modulo/jobs"
)

// remembered is how many confirmed transactions with rows a keeper remembers. It bounds memory, and the line of the log that
// names the rows.
const remembered = 4

const (
	// noteInterval is the time from one note of a token's serial in the database to the next.
	noteInterval = 5 * time.Second
	// notePatience is how long a batch may wait for a note.
	notePatience = 500 * time.Millisecond
)

// confirmation is a transaction that the broker was asked to commit, or has confirmed.
type confirmation struct {
	serial int64 // of the token that it wrote
	rows   []int64
}

// memory is what a keeper knows of a lineage's transactions beyond connections. The token that a connection finds must be as
// new as the last one that was confirmed, here, or to any owner before as the database knows it: who holds it goes on from
// there. An older one shows that the broker has gone back to an earlier state of its store.
type memory struct {
	lineage   string
	asked     confirmation
	confirmed []confirmation // the last ones with rows, oldest first
	from      int64          // serial after which confirmed has all that had rows

	lost    jobs.SetBack // not told of yet
	judged  int64        // serial in the database that has shown a loss
	noted   int64        // serial in the database, as far as it is known
	notedAt time.Time    // when it was noted last, or tried to
}

// ask notes the transaction that is about to be committed.
func (m *memory) ask(serial int64, messages []jobs.Message) {
	m.asked = confirmation{serial, make([]int64, len(messages))}
	for i := range messages {
		m.asked.rows[i] = messages[i].RowID
	}
}

// confirm notes that it was. With a token alone no message is lost.
func (m *memory) confirm() {
	if len(m.asked.rows) == 0 {
		return
	}
	if len(m.confirmed) == remembered {
		m.from = m.confirmed[0].serial
		m.confirmed = slices.Delete(m.confirmed, 0, 1)
	}
	m.confirmed = append(m.confirmed, m.asked)
	m.asked = confirmation{}
}

// compare holds the token that a connection has found against what was confirmed. The claim's serial may be some seconds old,
// and is there again with the next claim until a newer one is noted.
func (m *memory) compare(claim jobs.TokenClaim, found token) {
	if m.lineage != claim.Lineage {
		*m = memory{lineage: claim.Lineage, from: max(found.Serial, claim.Serial)}
	}
	if m.asked.serial == found.Serial {
		m.confirm() // only its receipt got lost
	}
	newest := found.Serial
	switch {
	case claim.Serial <= found.Serial:
		m.judged = 0
	case claim.Serial != m.judged:
		newest, m.judged = claim.Serial, claim.Serial
	}
	lost := jobs.SetBack{Since: found.At, All: found.Serial >= m.from}
	for _, c := range m.confirmed {
		if c.serial > found.Serial {
			newest, lost.Rows = max(newest, c.serial), append(lost.Rows, c.rows...)
		}
	}
	if lost.Transactions = newest - found.Serial; lost.Transactions > 0 {
		m.lost = lost
	}
	m.confirmed = slices.DeleteFunc(m.confirmed, func(c confirmation) bool { return c.serial > found.Serial })
	m.from, m.noted = min(m.from, found.Serial), claim.Serial
}

// tell tells of what was lost, once.
func (m *memory) tell() jobs.SetBack {
	lost := m.lost
	m.lost = jobs.SetBack{}
	return lost
}

// note lets the database know from time to time how far the token has come, so that whoever comes next can find out that the
// broker has gone back behind that. current is confirmed, and what was lost before it is told.
func (k *keeper) note(ctx context.Context) {
	if k.current.Serial == k.memory.noted || time.Since(k.memory.notedAt) < noteInterval {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, notePatience)
	defer cancel()
	k.memory.note(k.current.Serial, k.Lineage.Sent(ctx, k.current.Serial))
}

// note says that a serial was written to the database, or perhaps: then it is tried again.
func (m *memory) note(serial int64, err error) {
	m.notedAt, m.judged = time.Now(), 0
	if err == nil {
		m.noted = serial
	}
}
