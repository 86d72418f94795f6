package operations

import (
	"context"
	"sync"
	"time"
)

// The last hour is kept in memory, a point per HistoryStep: it begins with the process.
const (
	HistoryStep = 10 * time.Second
	HistoryLen  = int(time.Hour / HistoryStep)
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
	done   map[string]int64 // as of the last point
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

// add makes a point of each job; the first look only tells where counting begins.
func (h *history) add(o Overview) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.points == nil {
		h.points, h.done = map[string][]Point{}, map[string]int64{}
	}
	for _, job := range o.Jobs {
		before, known := h.done[job.Job]
		h.done[job.Job] = job.Done
		if !known {
			continue
		}
		points := append(h.points[job.Job], Point{o.At, job.Done - before, job.Backlog, job.OldestSeconds, job.Failed})
		h.points[job.Job] = points[max(0, len(points)-HistoryLen):]
	}
}
