package main

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkTokens drains a table by five workers with tokens and without, by turns in one run: the rows per second of both,
// and the median of the rounds' ratios.
func BenchmarkTokens(b *testing.B) {
	for _, way := range []struct{ batch, rows int }{{1000, 40_000}, {1, 3_000}} {
		b.Run(fmt.Sprintf("batch %d", way.batch), func(b *testing.B) {
			f := newFixture(b)
			drain := func(repeats string) time.Duration {
				f.exec("insert into modulo.outbox (destination, payload) select $1, repeat('x', 512) from generate_series(1, $2)", f.queue, way.rows)
				began := time.Now()
				f.ok("once", "--workers", "5", "--batch", fmt.Sprint(way.batch), "--repeats", repeats)
				took := time.Since(began)
				f.taken(f.queue)
				f.exec("truncate modulo.outbox")
				return took
			}
			var ratios []float64
			var took [2]time.Duration
			for b.Loop() {
				with, without := drain("none"), drain("possible")
				took[0], took[1] = took[0]+with, took[1]+without
				ratios = append(ratios, without.Seconds()/with.Seconds())
			}
			slices.Sort(ratios)
			b.ReportMetric(float64(b.N*way.rows)/took[0].Seconds(), "rows/s")
			b.ReportMetric(float64(b.N*way.rows)/took[1].Seconds(), "without/s")
			b.ReportMetric(ratios[len(ratios)/2], "median-ratio")
		})
	}
}
