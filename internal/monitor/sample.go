package monitor

import (
	"context"
	"time"

	"modulo/store"
)

// Pending rows are counted every sampleInterval, or as much later as it takes to spend 2 % of the time on it.
const (
	sampleInterval = 5 * time.Second
	sampleRest     = 50
	sampleMaxRest  = time.Minute
	sampleTimeout  = 15 * time.Second
)

// sample is what was counted of a job.
type sample struct {
	at      time.Time // zero: nothing so far
	backlog store.Backlog
}

// Database says whether the schema is right: a *store.DB.
type Database interface {
	CheckSchema(ctx context.Context) error
}

// Table counts the pending rows of a job: a *store.Source.
type Table interface {
	Backlog(ctx context.Context, workers, limit int) (store.Backlog, error)
}

// Sample looks at the schema and counts the pending rows of the jobs, from the first tick until ctx ends.
func (m *Monitor) Sample(ctx context.Context, db Database, tables map[string]Table) {
	select {
	case <-ctx.Done():
		return
	case <-m.known: // before it nobody knows how many workers share the rows
	}
	failing := map[string]bool{}
	for {
		began := time.Now()
		m.sampleSchema(ctx, db)
		for name, table := range tables {
			err := m.sampleJob(ctx, name, table)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !failing[name] {
				m.Log.Warn().Err(err).Str("job", name).Msg("pending rows are not counted; the metrics keep their last values")
			}
			failing[name] = err != nil
		}
		rest := max(sampleInterval, min(sampleRest*time.Since(began), sampleMaxRest))
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
	}
}

func (m *Monitor) sampleSchema(ctx context.Context, db Database) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	err := db.CheckSchema(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.schema = err
}

func (m *Monitor) sampleJob(ctx context.Context, name string, table Table) error {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	backlog, err := table.Backlog(ctx, m.workersOf(name), store.BacklogLimit)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs[name].sample = sample{time.Now(), backlog}
	return nil
}

// workersOf is the K in force.
func (m *Monitor) workersOf(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.jobs[name].state.Workers
}

// Counted returns what was last counted of a job, and when; false where nothing was.
func (m *Monitor) Counted(name string) (store.Backlog, time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[name]
	if j == nil || j.sample.at.IsZero() {
		return store.Backlog{}, time.Time{}, false
	}
	return j.sample.backlog, j.sample.at, true
}
