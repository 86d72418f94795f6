package main

import (
	"slices"
	"strings"
	"testing"
)

// orderedConfig has one worker with small batches: while it sends the good row beside a bad one, it fetches the rows
// behind, which must be held back all the same.
const orderedConfig = `
jobs:
  outbox: {workers: 1, batch: 2, source: {shard_by: key}, ordered: true}
`

// takenByKey returns what came, in order, by the first word of the payload.
func (f *fixture) takenByKey() map[string][]string {
	f.t.Helper()
	byKey := map[string][]string{}
	for _, m := range f.taken(f.queue) {
		key, number, _ := strings.Cut(string(m.Body), " ")
		byKey[key] = append(byKey[key], number)
	}
	return byKey
}

// TestOrdered: a bad row holds back the later rows of its own key, and nothing else; once it is put right, or given up,
// they come in order.
func TestOrdered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", orderedConfig)
	f.exec(`insert into modulo.outbox (destination, key, payload, headers)
		select $1, key, format('%s %s', coalesce(key, 'nobody'), n), case when n in (4, 9) then '{"receipt": "1"}'::jsonb end
		from generate_series(0, 14) as n, lateral (select (array['anna', 'bert', null])[1 + n % 3]) as k (key) order by n`, f.queue) // anna 0 3 6 9 12, bert 1 4 7 10 13
	f.exits(exitFailedRows, "once")

	sent := f.takenByKey()
	free := sent["nobody"]
	slices.Sort(free)
	if !slices.Equal(sent["anna"], []string{"0", "3", "6"}) || !slices.Equal(sent["bert"], []string{"1"}) ||
		!slices.Equal(free, []string{"11", "14", "2", "5", "8"}) {
		t.Errorf("sent beside the bad rows: %v", sent)
	}
	f.ok("once")
	if more := f.takenByKey(); len(more) > 0 {
		t.Errorf("the second pass sent %v", more)
	}

	f.exec("update modulo.outbox set headers = null where payload = 'bert 4'")
	f.ok("rows", "retry", "outbox", "--key", "bert", "--yes")
	f.ok("rows", "discard", "outbox", "--key", "anna", "--yes")
	f.ok("once")
	sent = f.takenByKey()
	if !slices.Equal(sent["anna"], []string{"12"}) || !slices.Equal(sent["bert"], []string{"4", "7", "10", "13"}) {
		t.Errorf("sent after retry and discard: %v", sent)
	}
	if pending := one[int](f, pendingSQL); pending != 0 {
		t.Errorf("%d rows are still pending", pending)
	}
}
