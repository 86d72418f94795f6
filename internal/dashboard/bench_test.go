package dashboard_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// What a crowd is: open dashboards, and a scrape every second.
const (
	openDashboards = 20
	benchRows      = 30_000
	benchRounds    = 9
)

// BenchmarkDelivery drains rows with and without a crowd that looks, by turns, and reports how the medians compare.
func BenchmarkDelivery(b *testing.B) {
	s := newStage(b)
	s.run("jobs: {outbox: {workers: 5, every: 20ms}}")
	alone, watched := make([]float64, 0, benchRounds), make([]float64, 0, benchRounds)
	s.drain(benchRows) // warms up
	for b.Loop() {
		for range benchRounds {
			alone = append(alone, s.drain(benchRows))
			leave := s.crowd()
			watched = append(watched, s.drain(benchRows))
			leave()
		}
	}
	slices.Sort(alone)
	slices.Sort(watched)
	b.ReportMetric(alone[len(alone)/2], "rows/s-alone")
	b.ReportMetric(watched[len(watched)/2], "rows/s-watched")
	b.ReportMetric(100*(1-watched[len(watched)/2]/alone[len(alone)/2]), "%slower")
}

// drain returns how many rows per second were delivered.
func (s *stage) drain(n int) float64 {
	s.t.Helper()
	s.exec("truncate modulo.outbox")
	s.exec("update modulo.jobs set paused = true")
	s.insert(n)
	began := time.Now()
	s.exec("update modulo.jobs set paused = false")
	s.drained()
	return float64(n) / time.Since(began).Seconds()
}

// crowd opens dashboards and scrapes until leave is called.
func (s *stage) crowd() (leave func()) {
	ctx, end := context.WithCancel(s.ctx)
	var looking sync.WaitGroup
	for n := range openDashboards {
		looking.Go(func() { s.look(ctx, []string{"/", "/jobs/outbox"}[n%2], "text/event-stream") })
	}
	looking.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.look(ctx, "/metrics", "text/plain")
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	return func() { end(); looking.Wait() }
}

// look reads an answer to its end, or the end of ctx.
func (s *stage) look(ctx context.Context, path, accept string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.site+path, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	request.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			s.t.Error(err)
		}
		return
	}
	_, _ = io.Copy(io.Discard, response.Body) // a stream has no other end
	_ = response.Body.Close()
}
