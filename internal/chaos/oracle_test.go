package chaos

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"modulo/internal/testservers"
)

// row is a row of the outbox as the table has it in the end.
type row struct {
	id                          int64
	eventID, destination        string
	kind, key, payload, headers string
	done                        bool
}

// lateType is the type of rows that commit after higher ids: they have no place in the order.
const lateType = "Late"

// breach is a way to break a promise.
type breach string

const (
	lost       breach = "lost"         // in the table, never received
	notDone    breach = "not done"     // never marked
	unexpected breach = "unexpected"   // received, not in the table
	altered    breach = "altered"      // event id, body, type, ... are not those of the row
	misplaced  breach = "wrong worker" // sent by a worker that does not own the row
	disordered breach = "out of order" // first delivered after a higher id of its worker
	failed     breach = "failed rows"  // records of failures
	beyond     breach = "beyond bound" // repeats that no fault explains
)

// breaches is all of them, as they are printed.
var breaches = []breach{lost, notDone, unexpected, altered, misplaced, disordered, failed, beyond}

// verdict is what the oracle found.
type verdict struct {
	rows, received, repeats, bound int
	count                          map[breach]int
	examples                       []string // the first of each
}

func (v *verdict) note(b breach, format string, args ...any) {
	if v.count[b]++; v.count[b] == 1 {
		v.examples = append(v.examples, fmt.Sprintf("%s: %s", b, fmt.Sprintf(format, args...)))
	}
}

// check fails the test for every broken promise.
func (v *verdict) check(t testing.TB) {
	t.Helper()
	for _, example := range v.examples {
		t.Error(example)
	}
}

// judge holds what was received, in the order of each queue, against the table. bound is how many repeats the faults
// explain.
func judge(rows []row, received []testservers.Delivered, workers, bound int) *verdict {
	v := &verdict{rows: len(rows), received: len(received), bound: bound, count: map[breach]int{}}
	byID := make(map[int64]*row, len(rows))
	for i := range rows {
		byID[rows[i].id] = &rows[i]
	}
	times := make(map[int64]int, len(rows))
	last := map[string]int64{} // first deliveries, by queue and worker
	for i := range received {
		d := &received[i]
		id, err := strconv.ParseInt(d.Property("row_id"), 10, 64)
		r := byID[id]
		if err != nil || r == nil {
			v.note(unexpected, "row_id %q, event_id %q in %s", d.Property("row_id"), d.Property("event_id"), d.Destination)
			continue
		}
		if what := r.difference(d); what != "" {
			v.note(altered, "row %d: %s", id, what)
		}
		if worker := d.Property("worker"); !owns(worker, workers, id) {
			v.note(misplaced, "row %d came from worker %s", id, worker)
		}
		if times[id]++; times[id] > 1 {
			v.repeats++
			continue
		}
		place := d.Destination + " " + d.Property("worker")
		before, ok := last[place]
		if ok && id < before && r.kind != lateType {
			v.note(disordered, "row %d of %s came after row %d", id, place, before)
		}
		if !ok || id > before {
			last[place] = id
		}
	}
	for i := range rows {
		if times[rows[i].id] == 0 {
			v.note(lost, "row %d (done: %t)", rows[i].id, rows[i].done)
		}
		if !rows[i].done {
			v.note(notDone, "row %d", rows[i].id)
		}
	}
	if v.repeats > bound {
		v.note(beyond, "%d repeats, the faults explain %d", v.repeats, bound)
	}
	return v
}

// difference says what of a message is not as its row says; empty if all is.
func (r *row) difference(d *testservers.Delivered) string {
	for _, field := range []struct{ name, want, got string }{
		{"event_id", r.eventID, d.Property("event_id")},
		{"body", r.payload, d.Text},
		{"destination", strings.Replace(r.destination, "/queue/", "queue://", 1), d.Destination},
		{"type", r.kind, d.Type},
		{"JMSXGroupID", r.key, d.GroupID},
		{"header tenant", r.headers, d.Property("tenant")},
		{"job", "outbox", d.Property("job")},
		{"class", "TextMessage", d.Class},
		{"persistent", "true", strconv.FormatBool(d.Persistent)},
	} {
		if field.got != field.want {
			return fmt.Sprintf("%s is %.200q, not %.200q", field.name, field.got, field.want)
		}
	}
	return ""
}

// owns says whether a worker, as in "3/5", is the one of so many workers that owns an id.
func owns(worker string, workers int, id int64) bool {
	of := int64(workers)
	return worker == fmt.Sprintf("%d/%d", (id%of+of)%of, of)
}

const readRows = `
select id, event_id::text, destination, coalesce(type, ''), coalesce(key, ''), payload, coalesce(headers ->> 'tenant', ''),
  done_at is not null
from modulo.outbox`

// collect empties the queues. It waits for so many messages, and takes the surplus too.
func (s *stage) collect(t testing.TB, expected int) {
	t.Helper()
	s.received = append(s.received, testservers.ConsumeFrom(t, testservers.Consumption{
		URL: s.broker.OpenWireURL(), Queues: s.queues(), Expected: expected,
	})...)
}

// judge collects the rest and compares all that was received with the table.
func (s *stage) judge(t testing.TB, workers, bound int) *verdict {
	t.Helper()
	rows, err := s.rows(t.Context())
	if err != nil {
		t.Fatalf("read the table: %v", err)
	}
	s.collect(t, max(0, len(rows)-len(s.received)))
	v := judge(rows, s.received, workers, bound)
	if n := s.count(t, countFailures); n > 0 {
		v.note(failed, "%d records in modulo.failures", n)
	}
	return v
}

func (s *stage) rows(ctx context.Context) ([]row, error) {
	conn, err := pgx.Connect(ctx, s.database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // everything is read
	result, err := conn.Query(ctx, readRows)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(result, func(c pgx.CollectableRow) (r row, err error) {
		return r, c.Scan(&r.id, &r.eventID, &r.destination, &r.kind, &r.key, &r.payload, &r.headers, &r.done)
	})
}
