package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-stomp/stomp/v3"
)

// handWritten is a table with a job that selects rows, sends each and marks it.
type handWritten struct {
	*fixture
	conn  *stomp.Conn
	queue string
}

// run is one start of the hand-written job: it sends what is pending, at most 40 rows.
func (h *handWritten) run() {
	h.t.Helper()
	var ids []int
	rows, err := h.db.Query(h.t.Context(), "select invoice_id from billing.invoice where status = 'APPROVED' and sent_at is null limit 40")
	if err != nil {
		h.t.Fatal(err)
	}
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			h.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		body := one[string](h.fixture, "select json_build_object('invoice', invoice_id, 'total', total)::text from billing.invoice where invoice_id = $1", id)
		if err := h.conn.Send(h.queue, "", []byte(body), stomp.SendOpt.Receipt, stomp.SendOpt.NoContentLength, stomp.SendOpt.Header("persistent", "true")); err != nil {
			h.t.Fatal(err)
		}
		h.exec("update billing.invoice set sent_at = now() where invoice_id = $1", id)
	}
}

// blocks are those of a kind in docs/migrating.md, with queues of the test's own.
func blocks(t *testing.T, kind, queue string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, block := range regexp.MustCompile("(?s)```"+kind+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		all = append(all, strings.ReplaceAll(block[1], "/queue/", queue+"."))
	}
	return all
}

// The way that docs/migrating.md describes: a shadow beside the hand-written job, the switch, and the way back. Each invoice is
// in the real queue once, with the body that it always had, and those of the time of the shadow in its queue too.
func TestMovingFromACronJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(invoiceTable)
	f.exec("truncate billing.invoice")
	h := &handWritten{fixture: f, queue: f.queue + ".billing.invoice"}
	var err error
	if h.conn, err = stomp.Dial("tcp", strings.TrimPrefix(f.mq.URL(), "stomp://")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.conn.Disconnect() })
	last := 0
	insert := func(n int) {
		f.exec(`insert into billing.invoice (invoice_id, region, status, total) select i, 'eu', 'APPROVED', i * 1.5 from generate_series($1::int, $2::int) as i`, last+1, last+n)
		last += n
	}
	const pending = "select count(*)::int from billing.invoice where sent_at is null"
	configs := blocks(t, "yaml", f.queue)

	insert(30)
	h.run()
	f.exec(blocks(t, "sql", f.queue)[0])
	f.ok("doctor", "--no-canary", "--config", write(t, "shadow.yaml", configs[0]))
	shadow := f.start("run", "--config", write(t, "shadow.yaml", configs[0]))
	for range 3 {
		insert(30)
		h.run()
	}
	await(t, "the shadow has seen all", func() bool {
		return one[int](f, "select count(*)::int from billing.invoice where shadow_at is null") == 0
	})
	if code := shadow.end(); code != 0 || one[int](f, pending) > 0 {
		t.Fatalf("exit code %d, %d pending", code, one[int](f, pending))
	}

	insert(30)
	f.ok("once", "--config", write(t, "modulo.yaml", configs[1]))
	running := f.start("run", "--config", write(t, "modulo.yaml", configs[1]))
	insert(30)
	await(t, "all are sent", func() bool { return one[int](f, pending) == 0 })
	if code := running.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	insert(30)
	h.run()
	// expected are the bodies of these invoices.
	expected := func(from, to int) (all []string) {
		for n := from; n <= to; n++ {
			all = append(all, fmt.Sprintf(`{"invoice" : %d, "total" : %d.%d0}`, n, n*3/2, n%2*5))
		}
		slices.Sort(all)
		return all
	}
	bodies := func(queue string) (all []string) {
		for _, m := range f.taken(queue) {
			all = append(all, string(m.Body))
		}
		slices.Sort(all)
		return all
	}
	if got, want := bodies(h.queue), expected(1, last); !slices.Equal(got, want) {
		t.Errorf("the real queue has %d messages, want %d:\n%q\n%q", len(got), len(want), got, want)
	}
	if got, want := bodies(f.queue+".shadow.billing.invoice"), expected(31, 120); !slices.Equal(got, want) {
		t.Errorf("the queue of the shadow has %d messages, want %d", len(got), len(want))
	}
}
