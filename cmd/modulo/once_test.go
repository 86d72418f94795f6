package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"modulo/internal/testservers"
)

// TestEachRowHasItsWorker is the example of the original job scheduler: worker w of five takes the rows w mod 5.
func TestEachRowHasItsWorker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (id, destination, payload) overriding system value
		select n, $1, 'event ' || n from generate_series(1001, 1007) as n`, f.queue)
	f.ok("once", "--workers", "5", "--max-workers", "2") // two at a time, but all
	rows := map[string][]string{}
	for _, m := range f.taken(f.queue) {
		worker := m.Header.Get("worker")
		rows[worker] = append(rows[worker], m.Header.Get("row_id"))
		if want := "event " + m.Header.Get("row_id"); string(m.Body) != want {
			t.Errorf("body %q, want %q", m.Body, want)
		}
	}
	want := map[string][]string{"0/5": {"1005"}, "1/5": {"1001", "1006"}, "2/5": {"1002", "1007"}, "3/5": {"1003"}, "4/5": {"1004"}}
	if !maps.EqualFunc(rows, want, slices.Equal) {
		t.Errorf("rows by worker: %v, want %v", rows, want)
	}
	if pending := one[int](f, pendingSQL); pending != 0 {
		t.Errorf("%d rows are still pending", pending)
	}
}

// drainedRows is how many rows TestDrain drains; MODULO_TEST_ROWS=100000 makes it the number of issue and README.
func drainedRows(t *testing.T) int {
	t.Helper()
	text, ok := os.LookupEnv("MODULO_TEST_ROWS")
	if !ok {
		return 20_000
	}
	rows, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

const drainConfig = `
jobs:
  outbox: {}
  scans:
    source: {table: scan, id: number, where: not sent}
    done: {set: sent = true}
    message: {destination: /queue/drain, payload: image}
`

// TestDrain drains the outbox and a table with a bytea payload with five workers, restarts the broker the hard way, and
// has ActiveMQ's own Java client look at everything: each event once, in each worker's order, as it should be.
func TestDrain(t *testing.T) {
	t.Parallel()
	rows := drainedRows(t)
	f := fixtureOn(t, testservers.Database(t), testservers.OwnBroker(t))
	f.exec(`create table scan (number int primary key, image bytea, sent boolean not null default false)`)
	f.exec(`insert into scan values (-3, '\x00ff0a00'), (0, ''), (7, '\x534f53')`)
	f.exec(`insert into modulo.outbox (destination, type, key, payload, headers)
		select '/queue/drain', 'Numbered', 'key-' || n % 100, json_build_object('n', n, 'text', 'naïve ☂ ' || n),
			jsonb_build_object('traceparent', format('00-%s-00f067aa0ba902b7-01', md5(n::text)), 'correlation-id', 'c:' || n, 'tenant', 'a:b\c')
		from generate_series(1, $1::int) as n`, rows)
	config := write(t, "modulo.yaml", drainConfig)
	summary := f.ok("once", "--workers", "5", "--config", config, "-o", "json")

	var jobs []onceSummary
	if err := json.Unmarshal([]byte(summary), &jobs); err != nil || len(jobs) != 2 {
		t.Fatalf("summary: %v\n%s", err, summary)
	}
	if j := jobs[0]; j.Job != "outbox" || j.Workers != 5 || j.Sent != rows || j.Done != rows || j.Failed != 0 || j.Repeated != 0 {
		t.Errorf("summary of outbox: %+v", j)
	}
	f.mq.Kill()
	if err := f.mq.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	delivered := testservers.Consume(t, f.mq, "drain", rows+3)
	if len(delivered) != rows+3 {
		t.Fatalf("%d messages, want %d", len(delivered), rows+3)
	}
	d := deliveries{t: t, f: f, seen: map[string]bool{}, last: map[string]int64{}, epochs: map[string]string{}}
	for _, message := range delivered {
		d.check(message)
		if t.Failed() {
			t.Fatalf("the message: %+v", message)
		}
	}
	wanted := one[[]string](f, "select array_agg(event_id::text) from modulo.outbox")
	wanted = append(wanted, "scans--3", "scans-0", "scans-7")
	for _, id := range wanted {
		if !d.seen[id] {
			t.Fatalf("event %s is missing", id)
		}
	}
}

// TestOnceEndsAChange: an owner that died in a change of K has left something unsettled; once settles it and ends the change,
// although the other job is at rest.
func TestOnceEndsAChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table scan (number int primary key, image bytea, sent boolean not null default false)`)
	config := write(t, "modulo.yaml", drainConfig)
	f.ok("once", "--config", config)
	f.exec(`update modulo.jobs set next_workers = 3 where job = 'scans'`)
	f.exec(`update modulo.workers set unsettled = true where job = 'scans' and number = 1`)
	f.ok("once", "--config", config)
	if k := one[int](f, `select workers from modulo.jobs where job = 'scans' and next_workers is null`); k != 3 {
		t.Errorf("%d workers", k)
	}
}

// deliveries checks the messages of TestDrain in the order of their delivery.
type deliveries struct {
	t      *testing.T
	f      *fixture
	seen   map[string]bool
	last   map[string]int64  // row by job and worker
	epochs map[string]string // by job and worker
}

func (d *deliveries) check(m testservers.Delivered) {
	id := m.Property("event_id")
	if d.seen[id] {
		d.t.Errorf("event %s came twice", id)
	}
	d.seen[id] = true
	if m.Destination != "queue://drain" || !m.Persistent || m.Expiration != 0 || m.Priority != 4 || m.ReplyTo != "" {
		d.t.Error("not a plain persistent message of queue drain")
	}
	row, err := strconv.ParseInt(m.Property("row_id"), 10, 64)
	if err != nil {
		d.t.Error(err)
	}
	worker := m.Property("worker")
	if want := fmt.Sprintf("%d/5", (row%5+5)%5); worker != want {
		d.t.Errorf("row %d came from worker %s, want %s", row, worker, want)
	}
	who := m.Property("job") + " " + worker
	if last, ok := d.last[who]; ok && row <= last {
		d.t.Errorf("row %d came after row %d of the same worker", row, last)
	}
	d.last[who] = row
	epoch := m.Property("epoch")
	if known, ok := d.epochs[who]; ok && known != epoch {
		d.t.Errorf("worker %s changed its epoch from %s to %s", who, known, epoch)
	}
	d.epochs[who] = epoch
	if n, err := strconv.Atoi(epoch); err != nil || n < 1 {
		d.t.Errorf("epoch %q", epoch)
	}
	properties := []string{"epoch", "event_id", "job", "row_id", "worker"}
	if m.Property("job") == "scans" {
		d.checkScan(m, row)
	} else {
		properties = append(properties, "tenant", "traceparent")
		d.checkEvent(m, row)
	}
	slices.Sort(properties)
	if names := slices.Sorted(maps.Keys(m.Properties)); !slices.Equal(names, properties) {
		d.t.Errorf("properties %v, want %v", names, properties)
	}
	for name, p := range m.Properties {
		if p.Type != "String" {
			d.t.Errorf("property %s is a %s", name, p.Type)
		}
	}
}

func (d *deliveries) checkScan(m testservers.Delivered, row int64) {
	want := map[int64]string{-3: "\x00\xff\n\x00", 0: "", 7: "SOS"}[row]
	if m.Class != "BytesMessage" || string(m.Bytes) != want || m.Property("event_id") != fmt.Sprint("scans-", row) {
		d.t.Errorf("scan %d is not as inserted", row)
	}
}

func (d *deliveries) checkEvent(m testservers.Delivered, row int64) {
	traceparent := m.Property("traceparent")
	switch {
	case m.Class != "TextMessage",
		m.Text != fmt.Sprintf(`{"n" : %d, "text" : "naïve ☂ %d"}`, row, row),
		m.Type != "Numbered",
		m.GroupID != fmt.Sprint("key-", row%100),
		m.CorrelationID != fmt.Sprint("c:", row),
		m.Property("tenant") != `a:b\c`,
		!strings.HasPrefix(traceparent, "00-") || !strings.HasSuffix(traceparent, "-00f067aa0ba902b7-01") || len(traceparent) != 55:
		d.t.Errorf("event of row %d is not as inserted", row)
	}
}

// TestOnceTells shows that data goes to stdout and everything else to stderr.
func TestOnceTells(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (destination, payload) select $1, 'x' from generate_series(1, 3)`, f.queue)
	a := f.exits(0, "once", "--workers", "2")
	golden(t, "cli/once.txt", maskedTable(a.stdout))
	golden(t, "cli/once.json", masked(f.ok("once", "--workers", "2", "-o", "json")))
	for line := range strings.Lines(a.stderr) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not a line of the log: %s", line)
		}
	}
	if !strings.Contains(a.stderr, `"message":"pass"`) {
		t.Errorf("no line about a pass that did something:\n%s", a.stderr)
	}
	if a := f.exits(0, "once", "--log-format", "console"); strings.Contains(a.stderr, "\x1b") {
		t.Errorf("colours where nobody sees them: %q", a.stderr)
	}
	f.taken(f.queue)
}
