package operations

import (
	"context"
	"sync"
	"time"
)

// The last hour is kept in memory, a point per HistoryStep: it begins with the process.
const (
	HistoryStep = 10 * time.Second
	historyLen  = int(time.Hour / HistoryStep)
)

// Point is a step of a job.
type Point struct {
	At            time.Time `json:"at"` // end of the step
	Done          int64     `json:"done"`
	Backlog       int       `json:"backlog"`
	OldestSeconds float64   `json:"oldest_pending_age_seconds"`
	Failed        int       `json:"failed"`
}

// history are the points by job, oldest first.
type history struct {
	mu     sync.Mutex
	points map[string][]Point
	seen   map[string]seen // as of the last point
}

// seen is how many rows a job had done at a time.
type seen struct {
	done int64
	at   time.Time
}

// History returns the last hour of a job, oldest first: nothing where Watch does not run. Rows of all instances count.
func (c *Console) History(job string) []Point {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	return append([]Point{}, c.history.points[job]...)
}

// Watch keeps the history and does queued repairs, until ctx ends.
func (c *Console) Watch(ctx context.Context) {
	var watching sync.WaitGroup
	watching.Go(func() { c.repairQueued(ctx) })
	defer watching.Wait()
	ticker := time.NewTicker(HistoryStep)
	defer ticker.Stop()
	for {
		// What cannot be read leaves a gap in a chart; that the database is away is told elsewhere.
		if now, err := c.glance(ctx); err == nil {
			c.history.add(now)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// glanceLimit is how long the history may keep others from an overview of their own, where the database is silent.
const glanceLimit = 5 * time.Second

func (c *Console) glance(ctx context.Context) (Overview, error) {
	ctx, cancel := context.WithTimeout(ctx, glanceLimit)
	defer cancel()
	return c.Overview(ctx)
}

// add makes a point of each job; the first look only tells where counting begins. What was done in a gap is spread over its
// steps: a steady rate stays steady. Of the other numbers in a gap nothing is known but how it ended.
func (h *history) add(o Overview) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.points == nil {
		h.points, h.seen = map[string][]Point{}, map[string]seen{}
	}
	for _, job := range o.Jobs {
		before, known := h.seen[job.Job]
		h.seen[job.Job] = seen{job.Done, o.At}
		if !known {
			continue
		}
		steps := max(1, int64(o.At.Sub(before.at).Round(HistoryStep)/HistoryStep))
		points, done := h.points[job.Job], job.Done-before.done
		for n := max(1, steps-int64(historyLen)+1); n <= steps; n++ {
			at := o.At.Add(-time.Duration(steps-n) * HistoryStep)
			points = append(points, Point{at, done*n/steps - done*(n-1)/steps, job.Backlog, job.OldestSeconds, job.Failed})
		}
		h.points[job.Job] = points[max(0, len(points)-historyLen):]
	}
}
