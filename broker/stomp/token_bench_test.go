package stomp_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/jobs"
)

// BenchmarkToken measures what the token costs five workers, in the same run and by turns: rows per second with it, against
// those without.
func BenchmarkToken(b *testing.B) {
	for _, way := range []struct{ batch, batches int }{{1000, 4}, {1, 200}} {
		b.Run(fmt.Sprintf("batch %d", way.batch), func(b *testing.B) {
			broker, queue := activeMQ(b, stomp.Config{}), brokertest.Queue(b)
			with, without := fiveWorkers(b, broker, true), fiveWorkers(b, broker, false)
			var ratios []float64
			var took [2]time.Duration
			rows := 0
			for b.Loop() {
				t, plain := publishAll(b, with, queue, way.batch, way.batches), publishAll(b, without, queue, way.batch, way.batches)
				took[0], took[1] = took[0]+t, took[1]+plain
				ratios = append(ratios, plain.Seconds()/t.Seconds())
				rows += len(with) * way.batch * way.batches
				broker.Drain(b, queue)
			}
			slices.Sort(ratios)
			b.ReportMetric(float64(rows)/took[0].Seconds(), "rows/s")
			b.ReportMetric(float64(rows)/took[1].Seconds(), "without/s")
			b.ReportMetric(ratios[len(ratios)/2], "median-ratio")
		})
	}
}

func fiveWorkers(b *testing.B, target brokertest.Target, tokens bool) (workers []jobs.Publisher) {
	b.Helper()
	broker, err := stomp.New(stomp.Config{Hosts: []stomp.Host{{Address: target.Addr}}})
	if err != nil {
		b.Fatal(err)
	}
	for number := range 5 {
		var token *stomp.TokenConfig
		if tokens {
			token = &stomp.TokenConfig{Job: "bench", Shard: jobs.Shard{Number: number, Of: 5, Epoch: 1}, Lineage: newLineage()}
		}
		p := broker.Publisher(token)
		if err := brokertest.Connect(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = p.Close() })
		workers = append(workers, p)
	}
	return workers
}

// publishAll has every worker publish its batches, each naming the one before as open, and returns how long that took.
func publishAll(b *testing.B, workers []jobs.Publisher, queue string, batch, batches int) time.Duration {
	b.Helper()
	began := time.Now()
	var running sync.WaitGroup
	for number, p := range workers {
		running.Go(func() {
			messages := outbox(queue, batch)
			var open []int64
			for n := range batches {
				ids := make([]int64, batch)
				for i := range messages {
					ids[i] = int64((n*batch+i)*len(workers) + number)
					messages[i].RowID = ids[i]
				}
				if err := p.Publish(b.Context(), messages, open); err != nil {
					b.Error(err)
					return
				}
				open = ids
			}
		})
	}
	running.Wait()
	return time.Since(began)
}
