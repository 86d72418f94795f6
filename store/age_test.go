package store_test

import (
	"testing"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// A row tells when it was inserted where it can: by our clock, and nothing it holds is an error.
func TestInsertedAt(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "simple_protocol"} {
		f := newFixture(t)
		f.DB = open(t, store.Config{URL: f.url + "&default_query_exec_mode=" + mode})
		f.exec(`insert into modulo.outbox (payload, created_at) select 'x', at::timestamptz
			from unnest(array[(now() - interval '1 hour')::text, 'infinity', '-infinity', '294276-12-31', '4714-11-24 BC']) as at`)
		rows := fetch(t, f.source(outboxJob()).Worker(jobs.Shard{Of: 1})).Rows
		if age := time.Since(rows[0].InsertedAt); age < time.Hour || age > time.Hour+time.Minute {
			t.Errorf("mode %s: the row is %s old, want an hour", mode, age)
		}
		for _, row := range rows[1:] {
			if !row.InsertedAt.IsZero() {
				t.Errorf("mode %s: row %d was inserted at %s, want no time", mode, row.ID, row.InsertedAt)
			}
		}
		f.exec("create table own (id bigint primary key, payload text, sent_at timestamptz, created_at timestamp default now())")
		f.exec("insert into own values (1, 'x')")
		if row := fetch(t, f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})).Rows[0]; !row.InsertedAt.IsZero() {
			t.Errorf("a time without a zone is taken for %s", row.InsertedAt)
		}
	}
}
