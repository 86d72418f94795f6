package stomp

import (
	"slices"

	"modulo/jobs"
)

// remembered is how many confirmed transactions with rows a keeper remembers. It bounds memory, and the line of the log that
// names the rows.
const remembered = 4

// confirmation is a transaction that the broker was asked to commit, or has confirmed.
type confirmation struct {
	serial uint64 // of the token that it wrote
	rows   []int64
}

// memory is what a keeper knows of its own transactions beyond connections. The token that a connection finds must be as new
// as the last one that was confirmed: nothing but this process writes it meanwhile, or somebody who goes on from there. An
// older one shows that the broker has gone back to an earlier state of its store.
type memory struct {
	lineage   string // of the tokens
	asked     confirmation
	confirmed []confirmation // the last ones, oldest first
	setBack   int            // transactions that turned out to be lost and were not told of yet
	lost      []int64        // their rows, as far as they are remembered
}

// ask notes the transaction that is about to be committed.
func (m *memory) ask(serial uint64, messages []jobs.Message) {
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

// compare holds the token that a connection has found against what was confirmed.
func (m *memory) compare(lineage string, found uint64) {
	if m.lineage != lineage {
		m.lineage, m.confirmed = lineage, nil
	}
	for _, c := range m.confirmed {
		if c.serial > found {
			m.setBack, m.lost = m.setBack+1, append(m.lost, c.rows...)
		}
	}
	m.confirmed = nil
}

// tell tells of what was lost, once.
func (m *memory) tell() (setBack int, lost []int64) {
	setBack, lost = m.setBack, m.lost
	m.setBack, m.lost = 0, nil
	return setBack, lost
}
