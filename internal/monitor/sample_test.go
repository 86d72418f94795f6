package monitor

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modulo/store"
)

// tableOf counts as it is told.
type tableOf func(workers, limit int) (store.Backlog, error)

func (t tableOf) Backlog(ctx context.Context, workers, limit int) (store.Backlog, error) {
	return t(workers, limit)
}

// TestSample: slow counts are made less often, a failed one keeps the last values, and K is the one in force.
func TestSample(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor()
		var at []time.Duration
		var took atomic.Int64 // of a count
		var fails atomic.Bool
		began := time.Now()
		table := tableOf(func(workers, limit int) (store.Backlog, error) {
			if limit != store.BacklogLimit {
				t.Errorf("limit %d", limit)
			}
			at = append(at, time.Since(began))
			time.Sleep(time.Duration(took.Load()))
			if fails.Load() {
				return store.Backlog{}, errors.New("no answer")
			}
			b := store.Backlog{Workers: make([]store.WorkerBacklog, workers), Failed: 3}
			b.Workers[workers-1].Pending = workers
			return b, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); m.Sample(ctx, schemaOf{}, map[string]Table{"orders": table}) }()
		synctest.Wait()
		took.Store(int64(time.Second))
		time.Sleep(sampleInterval)                               // the second begins, and takes a second
		time.Sleep((1+sampleRest)*time.Second - time.Nanosecond) // and rests for fifty
		changed := tick("")
		changed.Jobs[0].Workers = 3
		m.Ticked(changed)
		took.Store(0)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		fails.Store(true)
		time.Sleep(sampleInterval)
		synctest.Wait()
		cancel()
		<-ended
		want := []time.Duration{0, sampleInterval, sampleInterval + 51*time.Second, 2*sampleInterval + 51*time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("counted at %v, want %v", at, want)
		}
		wantValues(t, m, map[string]string{
			`modulo_backlog_rows{job="orders",worker="2"}`: "3", `modulo_backlog_rows{job="orders",worker="1"}`: "0",
			`modulo_backlog_capped{job="orders"}`: "1", `modulo_failed_rows{job="orders"}`: "3",
		})
		if _, exists := m.value(t, `modulo_oldest_pending_age_seconds{job="orders",worker="2"}`); exists {
			t.Error("an age without a created_at")
		}
	})
}
