package main

import (
	"fmt"
	"io"
	"time"
)

// quietInterval is how often progress is told where it cannot be repainted.
const quietInterval = 5 * time.Second

// progress is the demo's live line: repainted on a terminal, else a line now and then.
type progress struct {
	out     io.Writer
	repaint bool
	began   time.Time
	last    tally
	lastAt  time.Time
}

func (p *progress) show(t tally) {
	now := time.Now()
	if !p.repaint && !p.lastAt.IsZero() && now.Sub(p.lastAt) < quietInterval {
		return
	}
	rate := 0.0
	if !p.lastAt.IsZero() {
		rate = float64(t.arrived-p.last.arrived) / now.Sub(p.lastAt).Seconds()
	}
	line := fmt.Sprintf("%6s  pending %-8d arrived %-9d %7.0f rows/s  failed %d  repeated %d",
		now.Sub(p.began).Round(time.Second), t.pending, t.arrived, rate, t.failed, t.repeated)
	if p.repaint {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(p.out, line)
	}
	p.last, p.lastAt = t, now
}

// finish writes the rate over the whole time and leaves the line.
func (p *progress) finish(t tally) {
	if p.repaint {
		fmt.Fprintln(p.out)
	}
	took := time.Since(p.began)
	fmt.Fprintf(p.out, "%d events in %s: %.0f rows/s\n", t.arrived, took.Round(time.Millisecond), float64(t.arrived)/took.Seconds())
}
