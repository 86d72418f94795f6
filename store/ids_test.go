package store_test

import (
	"math"
	"slices"
	"testing"

	"modulo/jobs"
	"modulo/store"
)

// Ids reach the server as they are, however a connection sends them.
func TestIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		f.exec("drop table if exists own; " + ownTable)
		f.exec("insert into own (id, payload) select i, 'x' from unnest(array[$1::bigint, -1, 0, 1, 255, 256, $2::bigint]) as i", int64(math.MinInt64), int64(math.MaxInt64))
		f.DB = open(t, store.Config{URL: f.url + "&default_query_exec_mode=" + mode})
		worker := f.source(tableJob("own")).Worker(jobs.Shard{Of: 1})
		ids := []int64{math.MinInt64, -1, 256, math.MaxInt64}
		if batch, err := worker.Pending(t.Context(), ids); err != nil || !slices.Equal(batch.IDs(), ids) {
			t.Errorf("mode %s: pending %v, %v", mode, batch.IDs(), err)
		}
		if err := worker.MarkDone(t.Context(), ids); err != nil {
			t.Errorf("mode %s: %v", mode, err)
		}
		wantIDs(t, mode, fetch(t, worker), 0, 1, 255)
	}
}
