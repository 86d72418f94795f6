package store_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// The example of the original: rows 1001 to 1007 and five workers.
func TestFetchSharesRowsByRemainder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (id, payload) overriding system value select i, 'p' || i from generate_series(1001, 1007) as i`)
	source := f.source(outboxJob())
	want := [][]int64{{1005}, {1001, 1006}, {1002, 1007}, {1003}, {1004}}
	for w := range 5 {
		batch := fetch(t, source.Worker(jobs.Shard{Number: w, Of: 5}))
		if got := batch.IDs(); !slices.Equal(got, want[w]) || batch.More {
			t.Errorf("worker %d fetched %v (more: %v), want %v", w, got, batch.More, want[w])
		}
	}
}

// Every bigint has exactly one worker for every K, and SQL agrees with Go about which.
func TestEveryIDHasOneWorker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable)
	job := tableJob("own")
	job.Batch = 1000
	source := f.source(job)
	edges := []int64{math.MinInt64, math.MinInt64 + 1, -1025, -1024, -7, -5, -1, 0, 1, 7, 1023, 1024, math.MaxInt64 - 1, math.MaxInt64}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.OneOf(rapid.IntRange(1, 12), rapid.IntRange(1, jobs.MaxWorkers)).Draw(t, "K")
		ids := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Int64(), rapid.SampledFrom(edges), rapid.Int64Range(-50, 50)), 1, 40, rapid.ID).Draw(t, "ids")
		slices.Sort(ids)
		f.exec("truncate own")
		f.exec("insert into own (id) select unnest($1::bigint[])", ids)
		// The workers that own an id of the sample, and a few others, which must get nothing.
		workers := map[int]bool{0: true, k - 1: true, rapid.IntRange(0, k-1).Draw(t, "w"): true}
		for _, id := range ids {
			workers[int((id%int64(k)+int64(k))%int64(k))] = true
		}
		owners := map[int64]int{}
		for w := range workers {
			shard := jobs.Shard{Number: w, Of: k}
			batch, err := source.Worker(shard).Fetch(f.t.Context(), jobs.FirstID)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(batch.IDs()) {
				t.Fatalf("not in id order: %v", batch.IDs())
			}
			for _, id := range batch.IDs() {
				owners[id]++
				if !shard.Owns(id) {
					t.Fatalf("SQL gives id %d to worker %d of %d, Go does not", id, w, k)
				}
			}
		}
		for _, id := range ids {
			if owners[id] != 1 {
				t.Fatalf("id %d has %d workers of %d", id, owners[id], k)
			}
		}
	})
}

func TestFetchIDTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, typ := range []string{"smallint", "int", "bigint", "positive"} {
		table := "own_" + typ
		f.exec(fmt.Sprintf(`create domain positive as int check (value <> 0); create table %s (id %s primary key, payload text, sent_at timestamptz);
			insert into %s select i, 'x' from generate_series(-10, 10) i where i <> 0; drop domain if exists unused`, table, typ, table))
		f.exec("alter domain positive rename to positive_" + typ)
		source := f.source(tableJob(table))
		rows := source.Worker(jobs.Shard{Number: 3, Of: 5})
		batch := fetch(t, rows)
		if got := batch.IDs(); !slices.Equal(got, []int64{-7, -2, 3, 8}) {
			t.Errorf("%s: fetched %v", typ, got)
		}
		if err := rows.MarkDone(t.Context(), batch.IDs()); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		if left := fetch(t, rows); len(left.Rows) != 0 {
			t.Errorf("%s: left %v", typ, left.IDs())
		}
	}
}

func TestFetchReadsRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (event_id, destination, type, payload, headers) values
		('00000000-0000-0000-0000-000000000001', '/queue/a', 'T', '', '{"h": "v"}'),
		('00000000-0000-0000-0000-000000000002', '/queue/b', null, 'zwölf', null)`)
	batch := fetch(t, f.source(outboxJob()).Worker(jobs.Shard{Of: 1}))
	got := fmt.Sprintf("%v %q %q", batch.IDs(), batch.Rows[0].Fields, batch.Rows[1].Fields)
	want := `[1 2] ["/queue/a" "00000000-0000-0000-0000-000000000001" "T" "{\"h\": \"v\"}"] ` +
		`["/queue/b" "00000000-0000-0000-0000-000000000002" "" ""]`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if p := batch.Rows[0].Payload; p == nil || len(p) != 0 {
		t.Errorf("empty payload became %v", p)
	}
	if string(batch.Rows[1].Payload) != "zwölf" || batch.Rows[1].Fields[2] != nil || batch.Rows[0].Fields[2] == nil || batch.Binary {
		t.Errorf("second row: %+v", batch.Rows[1])
	}
}

func TestFetchPayloads(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table own (id int primary key, payload text, sent_at timestamptz, raw bytea, doc jsonb, n numeric, t text, c text);
		insert into own values (1, 'p', null, '\x00ff41', '{"b": 1,   "a": 2}', 1.50, 'tt', 'cc'), (2, null, null, null, null, null, null, null)`)
	for _, c := range []struct {
		name    string
		payload jobs.Payload
		want    string
		null    bool
		binary  bool
	}{
		{"text", jobs.Payload{Column: "payload"}, "p", true, false},
		{"bytea", jobs.Payload{Column: "raw"}, "\x00\xffA", true, true},
		{"jsonb", jobs.Payload{Column: "doc"}, `{"a": 2, "b": 1}`, true, false},
		{"numeric", jobs.Payload{Column: "n"}, "1.50", true, false},
		{"row", jobs.Payload{Row: true}, `{"id":1,"payload":"p","sent_at":null,"raw":"\\x00ff41","doc":{"a": 2, "b": 1},"n":1.50,"t":"tt","c":"cc"}`, false, false},
		{"columns", jobs.Payload{Row: true, Columns: []string{"t", "id", "c"}}, `{"t":"tt","id":1,"c":"cc"}`, false, false},
		{"sql", jobs.Payload{SQL: "payload || '-' || n -- both"}, "p-1.50", true, false},
		{"sql bytea", jobs.Payload{SQL: "raw || '\\x42'::bytea"}, "\x00\xffAB", true, true},
	} {
		job := tableJob("own")
		job.Message.Payload = c.payload
		batch := fetch(t, f.source(job).Worker(jobs.Shard{Of: 1}))
		if string(batch.Rows[0].Payload) != c.want || batch.Binary != c.binary {
			t.Errorf("%s: got %q, binary %v", c.name, batch.Rows[0].Payload, batch.Binary)
		}
		if null := batch.Rows[1].Payload == nil; null != c.null {
			t.Errorf("%s: null payload became %q", c.name, batch.Rows[1].Payload)
		}
	}
}

// Every way of talking to the server reads the same, also those a pooler needs.
func TestFetchQueryModes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table own (id int primary key, payload bytea, sent_at timestamptz, k text);
		insert into own values (-3, '\x0102', null, 'k'), (4, '\x', null, null), (5, null, null, '')`)
	job := tableJob("own")
	job.Source.ShardBy, job.Message.EventID = "k", "{id}-{k}"
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		db := open(t, store.Config{URL: f.url + "&default_query_exec_mode=" + mode})
		source, warnings, err := db.OpenSource(t.Context(), job)
		if err != nil || len(warnings) > 0 {
			t.Fatal(mode, err, warnings)
		}
		worker := source.Worker(jobs.Shard{Of: 1})
		if err := worker.Park(t.Context(), []jobs.Failure{{RowID: 4, EventID: "e", Attempts: 1, RetryAfter: time.Nanosecond, Class: jobs.ClassRefused}}); err != nil {
			t.Fatal(mode, err)
		}
		got := rowText(fetch(t, worker)) + "; " + rowText(due(t, worker))
		want := `-3 "k" "\x01\x02" ["-3" "k"] 0, 5 "" "" ["5" ""] 0; 4 "" "" ["4" ""] 1`
		if got != want {
			t.Errorf("%s: got %s\nwant %s", mode, got, want)
		}
		if err := worker.Settle(t.Context(), []int64{4}); err != nil {
			t.Fatal(mode, err)
		}
		f.exec("update own set sent_at = null")
	}
}

func rowText(batch jobs.Batch) string {
	var texts []string
	for _, r := range batch.Rows {
		texts = append(texts, fmt.Sprintf("%d %q %q %q %d", r.ID, r.Key, r.Payload, r.Fields, r.Attempts))
	}
	return strings.Join(texts, ", ")
}

func TestFetchShardsByKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, tenant) select i, case i % 4 when 0 then null when 1 then '' else 'tenant ' || i % 40 end
		from generate_series(-200, 200) as i`)
	job := tableJob("own")
	job.Source.ShardBy, job.Batch = "tenant", 1000
	source := f.source(job)
	backlog, err := source.Backlog(t.Context(), 5, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	ofKey, seen := map[string]int{}, 0
	for w := range 5 {
		shard := jobs.Shard{Number: w, Of: 5}
		rows := fetch(t, source.Worker(shard)).Rows
		if backlog.Workers[w].Pending != len(rows) {
			t.Errorf("worker %d fetched %d rows, the backlog says %d", w, len(rows), backlog.Workers[w].Pending)
		}
		for _, row := range rows {
			seen++
			if owner, ok := ofKey[row.Key]; row.Key != "" && ok && owner != w {
				t.Errorf("key %q belongs to the workers %d and %d", row.Key, owner, w)
			}
			if row.ID%4 == 0 && !shard.Owns(row.ID) {
				t.Errorf("row %d without a key went to worker %d", row.ID, w)
			}
			ofKey[row.Key] = w
		}
	}
	if seen != 401 {
		t.Errorf("%d of 401 rows have a worker", seen)
	}
}

// A row whose id is lower than the cursor when it commits is found by a fetch from the first id.
func TestFetchFindsLateCommits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable)
	worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
	late := testservers.Connect(t, f.url)
	if _, err := late.Exec(t.Context(), "begin; insert into own (id) values (100)"); err != nil {
		t.Fatal(err)
	}
	f.exec("insert into own (id) select i from generate_series(101, 150) as i")
	batch := fetch(t, worker)
	if err := worker.MarkDone(t.Context(), batch.IDs()); err != nil || len(batch.Rows) != 50 {
		t.Fatal(len(batch.Rows), err)
	}
	if _, err := late.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	if ahead, err := worker.Fetch(t.Context(), 151); err != nil || len(ahead.Rows) != 0 {
		t.Fatal(ahead.IDs(), err)
	}
	if got := fetch(t, worker).IDs(); !slices.Equal(got, []int64{100}) {
		t.Errorf("sweep fetched %v", got)
	}
}

func TestFetchStopsAtLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, payload) select i, repeat('x', 1000) from generate_series(1, 250) as i`)
	db := open(t, store.Config{URL: f.url})
	db.LimitBatches(60_000)
	source, _, err := db.OpenSource(t.Context(), tableJob("own"))
	if err != nil {
		t.Fatal(err)
	}
	worker := source.Worker(jobs.Shard{Of: 1})
	ids, largest := fetchAll(t, worker)
	if len(ids) != 250 || !slices.IsSorted(ids) || largest != 40 { // 1,512 bytes each
		t.Errorf("read %d rows, at most %d of 1000 bytes at once", len(ids), largest)
	}
	f.exec("update own set payload = repeat('y', 100000) where id = 1")
	if batch := fetch(t, worker); len(batch.Rows) != 1 || len(batch.Rows[0].Payload) != 100_000 || !batch.More {
		t.Errorf("a row beyond the limit: %v, more %v", batch.IDs(), batch.More)
	}
	f.exec("update own set payload = 'z'")
	rows := 0
	within(t, "back to whole batches", func() bool { rows = len(fetch(t, worker).Rows); return rows == 100 })
}

// fetchAll reads batch after batch and returns all ids and the size of the largest batch.
func fetchAll(t testing.TB, rows jobs.Rows) (ids []int64, largest int) {
	t.Helper()
	for from := int64(jobs.FirstID); ; {
		batch, err := rows.Fetch(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		ids, largest = append(ids, batch.IDs()...), max(largest, len(batch.Rows))
		if !batch.More {
			return ids, largest
		}
		from = batch.Rows[len(batch.Rows)-1].ID + 1
	}
}

// Names are data: whatever they hold, they are quoted.
func TestOddNames(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create schema "Bil.l""ing"; create table "Bil.l""ing"."select" ("Ord-er" int primary key, "from""x" text, "; drop table own; --" timestamptz, t text);
		insert into "Bil.l""ing"."select" values (7, 'payload', null, 'tee')`)
	job := &jobs.Job{
		Name: `o'd\d`, Workers: 3, Batch: 10,
		Source: jobs.Source{
			Table: `"Bil.l""ing".select`, ID: "Ord-er", ShardBy: `from"x`,
			Where: `"; drop table own; --" is null`, DoneSet: `"; drop table own; --" = now()`,
		},
		Message: jobs.MessageSpec{Destination: "/queue/q", EventID: `{Ord-er}`, Payload: jobs.Payload{Row: true}},
	}
	source := f.source(job)
	for w := range 3 {
		worker := source.Worker(jobs.Shard{Number: w, Of: 3})
		batch := fetch(t, worker)
		if len(batch.Rows) == 0 {
			continue
		}
		if p := string(batch.Rows[0].Payload); p != `{"Ord-er":7,"from\"x":"payload","; drop table own; --":null,"t":"tee"}` {
			t.Errorf("payload %s", p)
		}
		park := []jobs.Failure{{RowID: 7, EventID: "7", Attempts: 1, RetryAfter: time.Nanosecond, Class: jobs.ClassRefused, Reason: "no\x00\xff"}}
		if err := worker.Park(t.Context(), park); err != nil {
			t.Error(err)
		}
		if got := due(t, worker).IDs(); !slices.Equal(got, []int64{7}) {
			t.Errorf("due %v", got)
		}
		if err := worker.Settle(t.Context(), []int64{7}); err != nil {
			t.Error(err)
		}
		return
	}
	t.Error("no worker owns the row")
}

func TestMarkDone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table own (id int primary key, payload text, sent_at timestamptz, n int check (n < 5) default 0);
		insert into own (id) select i from generate_series(1, 10) as i;
		create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one' using errcode = 'ZZ001'; end $$;
		create trigger refuse before update on own for each row when (old.id = 9) execute function refuse()`)
	worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
	for range 2 { // idempotent
		if err := worker.MarkDone(t.Context(), []int64{1, 2, 10}); err != nil {
			t.Fatal(err)
		}
	}
	if left := fetch(t, worker).IDs(); !slices.Equal(left, []int64{3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("left %v", left)
	}
	if err := worker.MarkDone(t.Context(), nil); err != nil {
		t.Error(err)
	}
	wantRefused(t, worker.MarkDone(t.Context(), []int64{3, 9}), true)
	if left := fetch(t, worker).IDs(); !slices.Contains(left, 3) {
		t.Error("a refused statement marked a row")
	}
	job := tableJob("own")
	job.Source.DoneSet = "sent_at = now(), n = id"
	checked, warnings, err := f.OpenSource(t.Context(), job)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	wantRefused(t, checked.Worker(jobs.Shard{Of: 1}).MarkDone(t.Context(), []int64{3, 4, 5}), true)
	f.exec("alter table own drop column sent_at")
	wantRefused(t, worker.MarkDone(t.Context(), []int64{3}), false)
}

func TestMarkDoneOnPartitions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table own (id bigint primary key, payload text, sent_at timestamptz) partition by range (id);
		create table own_1 partition of own for values from (minvalue) to (1000);
		create table own_2 partition of own for values from (1000) to (2000);
		create table own_3 partition of own for values from (2000) to (maxvalue);
		insert into own select i, 'x' from generate_series(-500, 2999) as i`)
	job := tableJob("own")
	job.Batch = 10_000
	worker := f.source(job).Worker(jobs.Shard{Number: 1, Of: 2})
	ids, _ := fetchAll(t, worker)
	if len(ids) != 1750 || !slices.IsSorted(ids) {
		t.Fatalf("fetched %d", len(ids))
	}
	if err := worker.MarkDone(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if left := column[int64](f, "select count(*) from own where sent_at is null and id % 2 <> 0"); left[0] != 0 {
		t.Errorf("%d rows left", left[0])
	}
}

// The stages of a pass use a worker's rows beside each other, also on a service that hides its log, where nobody can tell one
// timeline from another. The race detector looks on.
func TestStagesBesideEachOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, payload) select i, 'p' || i from generate_series(1, 300) as i`)
	role := f.role()
	f.exec("revoke execute on function pg_current_wal_lsn() from public; grant usage on schema modulo to " + role +
		"; grant all on all tables in schema modulo to " + role + "; grant all on own to " + role)
	for _, url := range []string{f.url, f.as(role)} {
		f.exec("update own set sent_at = null; delete from modulo.failures")
		job := tableJob("own")
		job.Batch = 100
		source, _, err := open(t, store.Config{URL: url}).OpenSource(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		worker := source.Worker(jobs.Shard{Of: 1})
		batches := make([][]int64, 3)
		for i := range batches { // as the fetch stage does: a batch is known to the others when the next one is fetched
			first := int64(1 + 100*i)
			batch, err := worker.Fetch(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			batches[i] = batch.IDs()
		}
		problems := make([]error, 4)
		var stages sync.WaitGroup
		stages.Go(func() {
			for _, ids := range batches {
				batch, err := worker.Fetch(t.Context(), ids[0])
				problems[0] = errors.Join(problems[0], err)
				if err == nil && batch.Free != nil {
					batch.Free()
				}
				_, _, err = worker.Due(t.Context(), jobs.FirstID)
				problems[0] = errors.Join(problems[0], err)
			}
		})
		stages.Go(func() {
			problems[1] = worker.Park(t.Context(), []jobs.Failure{{RowID: batches[0][0], Attempts: 1, RetryAfter: soon, Class: jobs.ClassRefused}})
		})
		stages.Go(func() { problems[2] = worker.MarkDone(t.Context(), batches[1]) })
		stages.Go(func() {
			problems[3] = worker.Park(t.Context(), []jobs.Failure{{RowID: batches[2][0], Class: jobs.ClassUnmarkable, Delivered: true}})
		})
		stages.Wait()
		if err := errors.Join(problems...); err != nil {
			t.Fatal(err)
		}
		if done := column[int64](f, "select count(*) from own where sent_at is not null"); done[0] != 100 {
			t.Errorf("%d rows are done, want 100", done[0])
		}
	}
}
