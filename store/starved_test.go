package store_test

import (
	"sync"
	"testing"
	"time"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// However long the workers wait for the pool, heartbeats and ticks do not: they have connections of their own.
func TestHeartbeatsAreNotStarved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.DB = open(t, store.Config{URL: testservers.Seen(t, f.url), MaxConns: 2})
	f.exec("insert into modulo.outbox (payload) select i from generate_series(1, 20) as i")
	slow := outboxJob()
	slow.Source.Where = "done_at is null and pg_sleep(0.02) is not null"
	source := f.source(slow)
	a := (&fleet{f, outboxJob()}).start()

	const loads = 8 // of 0.4 s each, for two connections
	var loading sync.WaitGroup
	busy := make(chan struct{}, loads)
	for range loads {
		loading.Go(func() {
			busy <- struct{}{}
			if _, err := source.Worker(jobs.Shard{Of: 1}).Fetch(t.Context(), jobs.FirstID); err != nil {
				t.Error(err)
			}
			<-busy
		})
	}
	within(t, 20*seconds, "the pool is busy", func() bool { return len(busy) == loads })
	var slowest time.Duration
	beats := 0
	for ; len(busy) > loads/2; beats++ {
		began := time.Now()
		if err := a.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Tick(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	loading.Wait()
	t.Logf("%d heartbeats and ticks beside a full pool, the slowest took %s", beats, slowest)
	if beats < 10 || slowest > 500*time.Millisecond {
		t.Errorf("%d heartbeats and ticks, the slowest took %s", beats, slowest)
	}
}
