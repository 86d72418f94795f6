package jobs

import (
	"context"
	"time"
)

// Waiting says whether a pass of any worker of a job could find rows, pending or due. One look spares all workers
// theirs.
type Waiting func(ctx context.Context, job string) (bool, error)

const (
	// maxIdle is how long workers go without a pass although nothing waits: they find lost connections in it.
	maxIdle = 5 * time.Second
	// lookRest is how many times its own duration a look rests, as a sweep does: dead index entries can make it slow.
	// Until then every trigger is passed on; the workers' cursors spare them the walk.
	lookRest = 50
	// minLook is what a look may take at least.
	minLook = 100 * time.Millisecond
)

// lookout stands between the clock and the workers of a job. It only spares passes: what it misses is found within
// maxIdle. Its methods are called from one goroutine.
type lookout struct {
	waiting Waiting
	ticks   chan struct{} // holds one when the clock has triggered
	passed  time.Time     // when workers were triggered last
	due     time.Time     // no look before
}

// newLookout returns nil for a job whose every trigger counts.
func newLookout(job *Job, waiting Waiting) *lookout {
	if waiting == nil || job.Schedule.Cron != "" || job.Schedule.Every >= maxIdle {
		return nil
	}
	return &lookout{waiting: waiting, ticks: make(chan struct{}, 1)}
}

// tick is what the clock calls: it does not block.
func (c *crew) tick() {
	if c.lookout == nil {
		c.trigger()
		return
	}
	select {
	case c.lookout.ticks <- struct{}{}:
	default:
	}
}

// look triggers the workers when the clock does and something waits, until ctx ends.
func (c *crew) look(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.lookout.ticks:
		}
		if c.size() > 0 && c.lookout.worthwhile(ctx, c.job) {
			c.trigger()
		}
	}
}

// worthwhile says whether to trigger the workers now. A look that fails says nothing: the workers find out what is wrong.
func (l *lookout) worthwhile(ctx context.Context, job *Job) bool {
	began := time.Now()
	if began.Sub(l.passed) < maxIdle && !began.Before(l.due) {
		ctx, cancel := context.WithTimeout(ctx, max(job.Schedule.Every, minLook)) // an end by time costs the connection
		waiting, err := l.waiting(ctx, job.Name)
		cancel()
		if took := time.Since(began); lookRest*took > job.Schedule.Every {
			l.due = time.Now().Add(lookRest * took)
		}
		if err == nil && !waiting {
			return false
		}
	}
	l.passed = began
	return true
}
