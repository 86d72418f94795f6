package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
	"github.com/google/uuid"
)

// message is what a frame says of itself and of its sender.
type message struct {
	row    int64
	event  uuid.UUID
	worker string // as in 3/8
	number int
	of     int // K
	epoch  int64
}

// delivery is the first frame of a row.
type delivery struct {
	event uuid.UUID
	epoch int64
}

// place is where frames have an order: a worker's, in one queue.
type place struct{ queue, worker string }

// position is how far the frames of a place have come.
type position struct{ epoch, row int64 }

// force is the K in force as the frames of a queue tell it. Epochs grow from one generation to the next.
type force struct {
	of     int
	before int64 // highest epoch of the generations before
	epoch  int64 // highest of all
}

// reign is the time that a value of K was in force, as the frames tell it.
type reign struct {
	of           int
	first, last  time.Time            // frames
	begun, ended map[string]time.Time // first and last frame of each worker
}

// stream is what arrives, in the order of each queue. It checks while it reads what must hold from frame to frame.
type stream struct {
	load    *load
	reading sync.WaitGroup

	mu      sync.Mutex
	total   int
	ids     map[string]struct{} // of messages: one that the broker delivers again is no repeat
	rows    map[int64]delivery
	repeats map[int64]int // by the epoch of the first delivery
	epochs  map[int64]time.Time
	last    map[place]position
	reigns  []*reign
	force   map[string]force // by queue
	wrong   map[breach][]string
}

// breach is a way to break a promise, as the frames show it.
type breach string

const (
	lost       breach = "lost"
	altered    breach = "altered"      // event id, body, headers or queue are not those of the row
	misplaced  breach = "wrong worker" // sent by a worker that does not own the row
	disordered breach = "out of order" // first delivered after a higher id of its worker
	twoOwners  breach = "two owners"   // a frame of an older epoch after one of a newer, or of an older K
	beyond     breach = "beyond bound" // repeats that no fault explains
	failed     breach = "failed rows"
)

// breaches is all of them, as they are printed.
var breaches = []breach{lost, altered, misplaced, disordered, twoOwners, beyond, failed}

func newStream(of *load) *stream {
	return &stream{
		load: of, ids: map[string]struct{}{}, rows: map[int64]delivery{}, repeats: map[int64]int{}, epochs: map[int64]time.Time{},
		last: map[place]position{}, force: map[string]force{}, wrong: map[breach][]string{},
	}
}

func (s *stream) note(queue string, frame *frame.Frame) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	id := frame.Header.Get("message-id")
	if _, again := s.ids[id]; again {
		return
	}
	s.ids[id] = struct{}{}
	s.total++
	m, err := read(frame)
	if err != nil {
		s.breach(altered, "%v", err)
		return
	}
	if what := s.load.content(m.row).difference(queue, frame); what != "" {
		s.breach(altered, "row %d: %s", m.row, what)
	}
	if k := int64(m.of); int64(m.number) != (m.row%k+k)%k {
		s.breach(misplaced, "row %d came from worker %s", m.row, m.worker)
	}
	s.noteOwner(queue, m, now)
	s.noteReign(queue, m, now)
	before, again := s.rows[m.row]
	switch {
	case again && before.event != m.event:
		s.breach(altered, "row %d came as event %s, then as %s", m.row, before.event, m.event)
	case again:
		s.repeats[before.epoch]++
	default:
		s.rows[m.row] = delivery{m.event, m.epoch}
		s.noteOrder(queue, m)
	}
}

func read(frame *frame.Frame) (m message, err error) {
	header := frame.Header.Get
	m.worker = header("worker")
	if _, err := fmt.Sscanf(m.worker, "%d/%d", &m.number, &m.of); err != nil || m.of < 1 {
		return m, fmt.Errorf("worker %q: %w", m.worker, err)
	}
	if m.row, err = strconv.ParseInt(header("row_id"), 10, 64); err != nil {
		return m, fmt.Errorf("row_id: %w", err)
	}
	if m.epoch, err = strconv.ParseInt(header("epoch"), 10, 64); err != nil {
		return m, fmt.Errorf("epoch: %w", err)
	}
	if m.event, err = uuid.Parse(header("event_id")); err != nil {
		return m, fmt.Errorf("event_id: %w", err)
	}
	return m, nil
}

// difference says what of a frame is not as its row says; empty if all is. ActiveMQ does not hand JMSXGroupID on to STOMP
// consumers.
func (c content) difference(queue string, frame *frame.Frame) string {
	for _, field := range []struct{ name, want, got string }{
		{"queue", c.queue, queue},
		{"body", c.payload, string(frame.Body)},
		{"type", c.kind, frame.Header.Get("type")},
		{"tenant", c.tenant, frame.Header.Get("tenant")},
		{"job", "outbox", frame.Header.Get("job")},
		{"persistent", "true", frame.Header.Get("persistent")},
	} {
		if field.got != field.want {
			return fmt.Sprintf("%s is %.200q, not %.200q", field.name, field.got, field.want)
		}
	}
	return ""
}

// noteOwner: no frame of an older epoch of a worker comes after the first of its newer one.
func (s *stream) noteOwner(queue string, m message, now time.Time) {
	if _, known := s.epochs[m.epoch]; !known {
		s.epochs[m.epoch] = now
	}
	at := s.last[place{queue, m.worker}]
	if m.epoch < at.epoch {
		s.breach(twoOwners, "worker %s, row %d in %s: epoch %d after %d", m.worker, m.row, queue, m.epoch, at.epoch)
		return
	}
	at.epoch = m.epoch
	s.last[place{queue, m.worker}] = at
}

// noteReign: no frame of an older generation comes after the first of the next, whether or not its K was in force before.
func (s *stream) noteReign(queue string, m message, now time.Time) {
	f := s.force[queue]
	switch {
	case m.epoch <= f.before || m.of != f.of && m.epoch < f.epoch:
		s.breach(twoOwners, "worker %s sends to %s in epoch %d, after epoch %d of K = %d", m.worker, queue, m.epoch, f.epoch, f.of)
	case m.of != f.of:
		f.of, f.before = m.of, f.epoch
	}
	f.epoch = max(f.epoch, m.epoch)
	s.force[queue] = f
	i := slices.IndexFunc(s.reigns, func(r *reign) bool { return r.of == m.of })
	if i < 0 {
		i = len(s.reigns)
		s.reigns = append(s.reigns, &reign{of: m.of, first: now, begun: map[string]time.Time{}, ended: map[string]time.Time{}})
	}
	r := s.reigns[i]
	if _, begun := r.begun[m.worker]; !begun {
		r.begun[m.worker] = now
	}
	r.last, r.ended[m.worker] = now, now
}

// noteOrder: first deliveries of a worker are in id order. The load commits its rows in that order.
func (s *stream) noteOrder(queue string, m message) {
	at := s.last[place{queue, m.worker}]
	if m.row < at.row {
		s.breach(disordered, "row %d of worker %s in %s came after row %d", m.row, m.worker, queue, at.row)
		return
	}
	at.row = m.row
	s.last[place{queue, m.worker}] = at
}

func (s *stream) breach(b breach, format string, args ...any) {
	s.wrong[b] = append(s.wrong[b], fmt.Sprintf(format, args...))
}

// arrived is how many messages have arrived, and of how many rows.
func (s *stream) arrived() (messages, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, len(s.rows)
}

// repeated is how many rows came again, by the epoch of their first delivery.
func (s *stream) repeated() (byEpoch map[int64]int, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.repeats {
		total += n
	}
	return maps.Clone(s.repeats), total
}

// newer is how many epochs newer than this one have sent something.
func (s *stream) newer(epoch int64) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.epochs {
		if e > epoch {
			n++
		}
	}
	return n
}

// firstFrame is when an epoch's first frame arrived; zero if it sent none.
func (s *stream) firstFrame(epoch int64) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epochs[epoch]
}

// reported fails the test for every breach and counts them.
func (s *stream) reported(t *testing.T) map[breach]int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	count := map[breach]int{}
	for b, examples := range s.wrong {
		count[b] = len(examples)
		t.Errorf("%s, %d times:\n%s", b, len(examples), strings.Join(examples[:min(5, len(examples))], "\n"))
	}
	return count
}
