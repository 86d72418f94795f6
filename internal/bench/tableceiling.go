package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// tableCeiling is what the database takes at most: fetch by the remainder of the id and mark done, in binary and prepared,
// the next batch fetched while the one before is marked, and nothing else.
type tableCeiling struct {
	*stage
	*Case
}

func (c *tableCeiling) open(context.Context) (int, error) { return 0, nil }

func (c *tableCeiling) fill(ctx context.Context, rows int) error {
	_, err := c.fillSeen(ctx, rows, c.Payload)
	return err
}

// fillSeen is fill for programs that begin once the rows are there. It tells the planner what is there.
func (s *stage) fillSeen(ctx context.Context, rows, payload int) (last int64, err error) {
	l, err := s.fill(ctx, rows, payload)
	if err != nil {
		return 0, err
	}
	if err := l.commit(ctx); err != nil {
		return 0, err
	}
	_, err = s.db.Exec(ctx, "analyze modulo.outbox")
	return l.last, err
}

func (c *tableCeiling) drain(ctx context.Context) error {
	problems := make([]error, c.Workers)
	var running sync.WaitGroup
	for worker := range c.Workers {
		running.Go(func() { problems[worker] = c.work(ctx, worker) })
	}
	running.Wait()
	return errors.Join(problems...)
}

func (c *tableCeiling) work(ctx context.Context, worker int) (err error) {
	reader, err := pgx.Connect(ctx, c.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close(context.Background())) }()
	marker, err := pgx.Connect(ctx, c.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, marker.Close(context.Background())) }()
	fetched := make(chan []int64, 1)
	marked := make(chan error, 1)
	go func() {
		var err error
		for ids := range fetched {
			if err == nil {
				_, err = marker.Exec(ctx, "update modulo.outbox set done_at = now() where id = any($1)", ids)
			}
		}
		marked <- err
	}()
	err = c.fetchAll(ctx, reader, worker, fetched)
	close(fetched)
	return errors.Join(err, <-marked)
}

// fetchAll reads the columns that Modulo reads, batch after batch.
func (c *tableCeiling) fetchAll(ctx context.Context, conn *pgx.Conn, worker int, fetched chan<- []int64) error {
	fetchSQL := fmt.Sprintf("select id, payload, destination, event_id, headers, created_at from modulo.outbox "+
		"where done_at is null and id %% %d in (%d, %d) and id > $1 order by id limit %d",
		c.Workers, worker, worker-c.Workers, c.Batch)
	for last := int64(0); ; {
		rows, err := conn.Query(ctx, fetchSQL, last)
		if err != nil {
			return err
		}
		ids := make([]int64, 0, c.Batch)
		for rows.Next() {
			if err := rows.Scan(&last, nil, nil, nil, nil, nil); err != nil {
				return err
			}
			ids = append(ids, last)
		}
		if rows.Err() != nil || len(ids) == 0 {
			return rows.Err()
		}
		fetched <- ids
	}
}

func (c *tableCeiling) pace(context.Context, time.Duration) (paced, error) {
	return paced{}, errNoRows
}

func (c *tableCeiling) process() int { return 0 }

func (c *tableCeiling) allocations(context.Context) (float64, bool, error) { return 0, false, nil }

func (c *tableCeiling) shut() error  { return nil }
func (c *tableCeiling) close() error { return nil }
