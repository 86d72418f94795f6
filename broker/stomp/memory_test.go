package stomp

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modulo/jobs"
)

// history is a broker that keeps or loses what it confirmed, the database, and the publisher whose memory is tested.
type history struct {
	memory
	kept  []confirmation // what the broker holds, by serial; the first is the first token
	lost  []confirmation // since the last note
	noted int64          // serial in the database
	told  bool           // that noted shows a loss
	own   int64          // serial after which the publisher remembers all
	last  []int64        // serials of its transactions with rows since, that were not lost
	row   int64
}

func (h *history) newest() int64 { return h.kept[len(h.kept)-1].serial }

// publish sends so many rows. Of what was committed, the confirmation may get lost.
func (h *history) publish(rows int, committed, confirmed bool) {
	messages := make([]jobs.Message, rows)
	for i := range messages {
		h.row++
		messages[i].RowID = h.row
	}
	h.ask(h.newest()+1, messages)
	if !committed {
		return
	}
	h.kept = append(h.kept, h.asked)
	if rows > 0 {
		if len(h.last) == remembered {
			h.own, h.last = h.last[0], h.last[1:]
		}
		h.last = append(h.last, h.newest())
	}
	if confirmed {
		h.confirm()
	}
}

// connect compares with what the broker holds now, and must tell of these transactions, which are lost and were not told of.
func (h *history) connect(t *rapid.T, gone []confirmation) {
	h.compare(jobs.TokenClaim{Lineage: "a", Serial: h.noted}, token{Serial: h.newest()})
	told := h.tell()
	var rows, serials []int64
	for _, c := range gone {
		if rows = append(rows, c.rows...); len(c.rows) > 0 {
			serials = append(serials, c.serial)
		}
	}
	switch {
	case len(gone) == 0 && told.Transactions > 0:
		t.Fatalf("accused without a loss: %+v", told)
	case told.All && told.Transactions > 0 && !slices.Equal(told.Rows, rows):
		t.Fatalf("not all rows, though it says so: %v, lost are %v", told.Rows, rows)
	case !told.All && len(serials) > 0 && h.newest() >= h.own:
		t.Fatalf("all rows are remembered: %+v, lost are %v", told, rows)
	case len(gone) > 0 && !h.told && told.Transactions < h.noted-h.newest():
		t.Fatalf("%d is noted and %d found, told are %d", h.noted, h.newest(), told.Transactions)
	}
	for _, r := range told.Rows {
		if !slices.Contains(rows, r) {
			t.Fatalf("row %d was not lost: %v", r, rows)
		}
	}
	h.own = min(h.own, h.newest())
	h.last = slices.DeleteFunc(h.last, func(serial int64) bool { return serial > h.newest() })
	h.told = h.noted > h.newest()
}

// takeOver is a new publisher. It is told what the database shows, again if nothing was noted since.
func (h *history) takeOver(t *rapid.T) {
	h.memory, h.own, h.last, h.told = memory{}, h.newest()+1, nil, false
	gone := h.lost
	if h.noted <= h.newest() {
		gone = nil
	}
	h.connect(t, gone)
}

func (h *history) goBack(t *rapid.T) {
	left := rapid.IntRange(1, len(h.kept)).Draw(t, "left")
	gone := slices.Clone(h.kept[left:])
	h.kept, h.lost = h.kept[:left], append(gone, h.lost...)
	h.connect(t, gone)
}

// TestMemory: a broker that has lost nothing is never accused, one that has is found out, and the rows are those that are lost.
func TestMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := &history{kept: []confirmation{{serial: 1}}}
		h.takeOver(t)
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*remembered).Draw(t, "times") {
					h.publish(rapid.IntRange(0, 2).Draw(t, "rows"), true, true)
				}
			},
			"publish in vain": func(t *rapid.T) {
				h.publish(rapid.IntRange(0, 2).Draw(t, "rows"), rapid.Bool().Draw(t, "committed"), false)
				h.connect(t, nil)
			},
			"note":      func(*rapid.T) { h.noted, h.told, h.lost = h.newest(), false, nil; h.note(h.noted, nil) },
			"reconnect": func(t *rapid.T) { h.connect(t, nil) },
			"take over": h.takeOver,
			"go back":   h.goBack,
		})
	})
}
