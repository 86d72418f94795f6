package fleet

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"modulo/internal/programtest"
)

// verdict is what became of the rows.
type verdict struct {
	rows, received, repeats int
	breaches                map[breach]int
}

// judge ends the load, waits until everything is done and has arrived, and holds what came against the table. It fails
// the test for every breach but repeats.
func (f *fleet) judge() verdict {
	f.t.Helper()
	v := verdict{rows: f.load.stop()}
	f.await("all rows done", "select not exists (select from modulo.outbox where done_at is null)")
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	_ = programtest.Await(ctx, 20*time.Millisecond, func() (bool, error) { // what is missing then is lost
		_, rows := f.stream.arrived()
		return rows >= v.rows, nil
	})
	if err := f.compare(); err != nil {
		f.t.Fatalf("read the table: %v", err)
	}
	v.received, _ = f.stream.arrived()
	_, v.repeats = f.stream.repeated()
	v.breaches = f.stream.reported(f.t)
	return v
}

// compare holds the stream against the table: ids, event ids, and failures.
func (f *fleet) compare() error {
	var failures int
	if err := f.db.QueryRow(f.t.Context(), "select count(*) from modulo.failures").Scan(&failures); err != nil {
		return err
	}
	rows, err := f.db.Query(f.t.Context(), "select id, event_id from modulo.outbox")
	if err != nil {
		return err
	}
	s := f.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if failures > 0 {
		s.breach(failed, "%d records in modulo.failures", failures)
	}
	var id int64
	var event uuid.UUID
	table := 0
	_, err = pgx.ForEachRow(rows, []any{&id, (*[16]byte)(&event)}, func() error {
		table++
		switch came, is := s.rows[id]; {
		case !is:
			s.breach(lost, "row %d", id)
		case came.event != event:
			s.breach(altered, "row %d is event %s, but came as %s", id, event, came.event)
		}
		return nil
	})
	if table != f.load.inserted {
		s.breach(lost, "the table has %d rows of %d", table, f.load.inserted)
	}
	if surplus := len(s.rows) - table; surplus > 0 {
		s.breach(altered, "%d rows came that nobody inserted", surplus)
	}
	return err
}
