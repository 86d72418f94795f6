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

// noteInterval is the time from one note of a token's serial in the database to the next.
const noteInterval = 5 * time.Second

// confirmation is a transaction that the broker was asked to commit, or has confirmed.
type confirmation struct {
	serial int64 // of the token that it wrote
	rows   []int64
}

// memory is what a keeper knows of its own transactions beyond connections. The token that a connection finds must be as new
// as the last one that was confirmed, here, or to any owner before as the database knows it: who holds it goes on from there.
// An older one shows that the broker has gone back to an earlier state of its store.
type memory struct {
	lineage   string // of the tokens
	asked     confirmation
	confirmed []confirmation // the last ones, oldest first
	setBack   int64          // transactions that turned out to be lost and were not told of yet
	since     time.Time      // of the state that the broker has gone back to; zero: not known
	lost      []int64        // rows of those transactions, as far as they are remembered

	noted   int64     // serial that the database knows
	notedAt time.Time // when it was told last, or was to be
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
		m.confirmed = slices.Delete(m.confirmed, 0, 1)
	}
	m.confirmed = append(m.confirmed, m.asked)
}

// compare holds the token that a connection has found against what was confirmed. The serial of the claim may be some seconds
// old, and counts tokens without messages as well.
func (m *memory) compare(claim jobs.TokenClaim, found token) {
	if m.lineage != claim.Lineage {
		m.lineage, m.confirmed = claim.Lineage, nil
	}
	newest := claim.Serial
	for _, c := range m.confirmed {
		if c.serial > found.Serial {
			newest, m.lost = max(newest, c.serial), append(m.lost, c.rows...)
		}
	}
	m.confirmed = nil
	if newest > found.Serial {
		m.setBack, m.since = max(m.setBack, newest-found.Serial), found.At // the database may have kept what was not told yet
	}
}

// tell tells of what was lost, once.
func (m *memory) tell() (setBack int64, since time.Time, lost []int64) {
	told := *m
	m.setBack, m.since, m.lost = 0, time.Time{}, nil
	return told.setBack, told.since, told.lost
}

// note lets the database know from time to time how far the token has come, so that whoever comes next can find out that the
// broker has gone back behind that. current is confirmed.
func (k *keeper) note(ctx context.Context) {
	if k.current.Serial == k.memory.noted || time.Since(k.memory.notedAt) < noteInterval {
		return
	}
	k.memory.notedAt = time.Now()
	if k.Lineage.Sent(ctx, k.current.Serial) == nil { // or it is tried again
		k.memory.noted = k.current.Serial
	}
}
