package store_test

import (
	"errors"
	"strings"
	"testing"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// A pooler is found out without any word in the URL, whether it refuses the settings of a session or drops them in
// silence, and everything but migrations works behind it.
func TestOpenFindsThePooler(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	name := f.url[strings.LastIndex(f.url, "/")+1 : strings.Index(f.url, "?")]
	f.exec("insert into modulo.outbox (payload) select i from generate_series(1, 30) as i")
	if open(t, store.Config{URL: f.url}).Pooled() {
		t.Error("a pooler where there is none")
	}
	poolers := map[string]string{
		"refuses": testservers.Pooled(t, f.url),
		"drops": testservers.OwnPgBouncer(t, nil,
			"ignore_startup_parameters = plan_cache_mode, enable_seqscan, enable_bitmapscan, jit").URL(name),
	}
	for how, url := range poolers {
		db := open(t, store.Config{URL: url})
		if !db.Pooled() {
			t.Errorf("%s: no pooler found", how)
		}
		if _, err := db.MigrateUp(t.Context()); !errors.Is(err, store.ErrPooled) {
			t.Errorf("%s: migrate: %v", how, err)
		}
		if err := db.CheckSchema(t.Context()); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		source, _, err := db.OpenSource(t.Context(), outboxJob())
		if err != nil {
			t.Fatal(err)
		}
		worker := source.Worker(jobs.Shard{Of: 1})
		for range 30 { // each on any connection of the server
			if _, err := worker.Fetch(t.Context(), jobs.FirstID); err != nil {
				t.Fatalf("%s: %v", how, err)
			}
		}
	}
}

// Against a pooler a migration that is told to go without prepared statements still tells why it cannot.
func TestMigrateThroughAPooler(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := open(t, store.Config{URL: testservers.Pooled(t, f.url) + "&default_query_exec_mode=exec"}).MigrateUp(t.Context())
	wantError(t, err, "migrate up", "migrations need a direct connection")
}
