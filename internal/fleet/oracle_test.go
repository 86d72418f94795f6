package fleet

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
	"github.com/google/uuid"
)

// sent is a frame as a test of the oracle makes it up.
type sent struct {
	row, epoch int64
	worker     string
	body       string // "": that of the row
	event      string // "": that of the row
	id         string // of the message; "": a new one
}

func (s *stream) receive(m sent) {
	c := s.load.content(m.row)
	if m.body == "" {
		m.body = c.payload
	}
	if m.event == "" {
		m.event = uuid.NewMD5(uuid.Nil, fmt.Append(nil, m.row)).String()
	}
	if m.id == "" {
		m.id = uuid.NewString()
	}
	header := frame.NewHeader("message-id", m.id, "row_id", fmt.Sprint(m.row), "epoch", fmt.Sprint(m.epoch), "worker", m.worker, "event_id", m.event,
		"type", c.kind, "job", "outbox", "persistent", "true")
	if c.tenant != "" {
		header.Add("tenant", c.tenant)
	}
	s.note(c.queue, &frame.Frame{Header: header, Body: []byte(m.body)})
}

// TestStream: the stream finds each kind of breach, and no other. Rows 3, 9, 15, ... are of one worker and one queue.
func TestStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		frames  []sent
		want    map[breach]int
		repeats int
	}{
		"all is well":             {[]sent{{row: 3, epoch: 1, worker: "1/2"}, {row: 9, epoch: 2, worker: "1/2"}}, nil, 0},
		"a repeat":                {[]sent{{row: 3, epoch: 1, worker: "1/2"}, {row: 3, epoch: 2, worker: "1/2"}}, nil, 1},
		"an older epoch":          {[]sent{{row: 3, epoch: 2, worker: "1/2"}, {row: 9, epoch: 1, worker: "1/2"}}, map[breach]int{twoOwners: 1}, 0},
		"an older K":              {[]sent{{row: 3, epoch: 1, worker: "1/2"}, {row: 9, epoch: 2, worker: "0/3"}, {row: 15, epoch: 1, worker: "1/2"}}, map[breach]int{twoOwners: 1}, 0},
		"a K again":               {[]sent{{row: 3, epoch: 1, worker: "1/2"}, {row: 9, epoch: 2, worker: "0/3"}, {row: 15, epoch: 3, worker: "1/2"}}, nil, 0},
		"an older time of a K":    {[]sent{{row: 3, epoch: 1, worker: "1/2"}, {row: 9, epoch: 3, worker: "0/3"}, {row: 12, epoch: 5, worker: "0/2"}, {row: 15, epoch: 2, worker: "1/2"}}, map[breach]int{twoOwners: 1}, 0},
		"delivered again":         {[]sent{{row: 3, epoch: 1, worker: "1/2", id: "a"}, {row: 3, epoch: 1, worker: "1/2", id: "a"}}, nil, 0},
		"a foreign worker":        {[]sent{{row: 3, epoch: 1, worker: "0/2"}}, map[breach]int{misplaced: 1}, 0},
		"two rows swapped":        {[]sent{{row: 9, epoch: 1, worker: "1/2"}, {row: 3, epoch: 1, worker: "1/2"}}, map[breach]int{disordered: 1}, 0},
		"another body":            {[]sent{{row: 3, epoch: 1, worker: "1/2", body: "?"}}, map[breach]int{altered: 1}, 0},
		"a repeat, another event": {[]sent{{row: 3, epoch: 1, worker: "1/2"}, {row: 3, epoch: 1, worker: "1/2", event: uuid.NewString()}}, map[breach]int{altered: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStream(&load{queues: []string{"a", "b", "c"}})
			for _, m := range c.frames {
				s.receive(m)
			}
			count := map[breach]int{}
			for b, examples := range s.wrong {
				count[b] = len(examples)
			}
			if _, repeats := s.repeated(); !maps.Equal(count, c.want) || repeats != c.repeats {
				t.Errorf("breaches %v, %d repeats; want %v, %d", s.wrong, repeats, c.want, c.repeats)
			}
		})
	}
}

// TestExplain: of a storm with one strike, what the strike does not explain is found.
func TestExplain(t *testing.T) {
	t.Parallel()
	began := time.Now()
	after := func(d time.Duration) time.Time { return began.Add(d) }
	kill, term := kinds[0], kinds[1]
	for name, c := range map[string]struct {
		kind    *kind
		next    time.Duration // from the strike to the next owner; 0: there is none
		taken   bool
		repeats map[int64]int
		want    int
	}{
		"a kill":                      {kill, takeOverLimit, true, map[int64]int{1: explained(openBatches)}, 0},
		"a slow take-over":            {kill, takeOverLimit + *busy + time.Second, true, nil, 1},
		"no take-over":                {kill, 0, false, nil, 1},
		"too many repeats":            {kill, time.Second, true, map[int64]int{1: explained(openBatches) + 1}, 1},
		"repeats after SIGTERM":       {term, 100 * time.Millisecond, false, map[int64]int{1: 1}, 1},
		"repeats of the next owner":   {kill, time.Second, true, map[int64]int{2: 1}, 1},
		"repeats of an unknown epoch": {kill, time.Second, true, map[int64]int{7: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStream(&load{})
			maps.Copy(s.repeats, c.repeats)
			book := ledger{{of: 2, number: 1, epoch: 1, pid: 100, from: after(-time.Minute)}}
			if c.next > 0 {
				book[0].to, book[0].taken = after(c.next), c.taken
				book = append(book, tenure{of: 2, number: 1, epoch: 2, pid: 200, from: after(c.next)})
			}
			o := explain(s, []*strike{{kind: c.kind, pid: 100, began: began, mended: after(time.Minute)}}, book)
			if len(o.wrong) != c.want {
				t.Errorf("%d complaints, want %d: %q", len(o.wrong), c.want, o.wrong)
			}
		})
	}
}

// TestExplainAfterCut: of a worker that was taken once a cut of a third of the lease was over, and was lost with it.
func TestExplainAfterCut(t *testing.T) {
	t.Parallel()
	cut := kinds[3]
	lasts := stormLease / 3
	began := time.Now()
	for name, c := range map[string]struct {
		pid       int
		from, end time.Duration // from the strike
		want      int
	}{
		"with the lease of before":       {100, lasts + time.Millisecond, stormLease, 0},
		"with a renewal that came late":  {100, lasts + time.Millisecond, 2 * stormLease, 0},
		"longer than any lease it had":   {100, lasts + time.Millisecond, stormLease + takeOverLimit + *busy, 1},
		"taken with a lease after that":  {100, stormLease, stormLease + takeOverLimit, 1},
		"of another process":             {200, lasts + time.Millisecond, stormLease, 1},
		"taken in the cut, as any other": {100, lasts - time.Millisecond, takeOverLimit, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := ledger{
				{of: 2, number: 1, epoch: 1, pid: c.pid, from: began.Add(c.from), to: began.Add(c.end), taken: true},
				{of: 2, number: 1, epoch: 2, pid: 300, from: began.Add(c.end)},
			}
			o := explain(newStream(&load{}), []*strike{{kind: cut, pid: 100, began: began, mended: began.Add(lasts)}}, book)
			if len(o.wrong) != c.want {
				t.Errorf("%d complaints, want %d: %q", len(o.wrong), c.want, o.wrong)
			}
		})
	}
}

// TestMeasure: the time of the next owner's first frame counts from the last fault that can have delayed it.
func TestMeasure(t *testing.T) {
	t.Parallel()
	began := time.Now()
	kill, broker, cut := serverKinds[0], serverKinds[2], serverKinds[4]
	for name, c := range map[string]struct {
		frame time.Duration // from the strike
		other *kind         // strikes a second later, for a second; nil: none does
		want  int
	}{
		"in time":                     {resumeLimit, nil, 0},
		"too late":                    {resumeLimit + *busy + time.Second, nil, 1},
		"late, the broker was killed": {resumeLimit + *busy + time.Second, broker, 0},
		"too late for that":           {resumeLimit + *busy + 3*time.Second, broker, 1},
		"late, another one was cut":   {resumeLimit + *busy + time.Second, cut, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStream(&load{})
			s.epochs[2] = began.Add(c.frame)
			book := ledger{
				{of: 2, number: 1, epoch: 1, pid: 100, from: began.Add(-time.Minute), to: began.Add(time.Second), taken: true},
				{of: 2, number: 1, epoch: 2, pid: 200, from: began.Add(time.Second)},
			}
			struck := []*strike{{kind: kill, pid: 100, began: began, mended: began.Add(time.Second)}}
			if c.other != nil {
				struck = append(struck, &strike{kind: c.other, pid: 200, began: began.Add(time.Second), mended: began.Add(2 * time.Second)})
			}
			o := newOutcome()
			o.measure(s, struck, book)
			if o.measured != 1 || len(o.wrong) != c.want {
				t.Errorf("%d measured, want 1; %d complaints, want %d: %q", o.measured, len(o.wrong), c.want, o.wrong)
			}
		})
	}
}
