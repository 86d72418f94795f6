package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// paceRate is how many rows per second come where latency is measured: what an application of some size writes, and far
// from what any of the cases takes at most.
const paceRate = 500

// paced are rows that came one by one, and quantiles of their latency in milliseconds.
type paced struct {
	rows     int
	p50, p99 float64
}

const insertSQL = "insert into modulo.outbox (destination, payload) values ($1, repeat('x', $2))"

// insertPaced inserts rows at random times, independent of each other and of any clock. Where the database is slower than
// that, they come as fast as it takes them.
func (s *stage) insertPaced(ctx context.Context, payload int, length time.Duration) (rows int, err error) {
	end := time.Now().Add(length)
	for next := time.Now(); next.Before(end) && time.Now().Before(end); next = next.Add(gap()) {
		if err := sleep(ctx, time.Until(next)); err != nil {
			return rows, err
		}
		if _, err := s.db.Exec(ctx, insertSQL, s.queue(), payload); err != nil {
			return rows, fmt.Errorf("insert: %w", err)
		}
		rows++
	}
	return rows, nil
}

func gap() time.Duration { return time.Duration(rand.ExpFloat64() * float64(time.Second) / paceRate) }

const latencySQL = `
select count(*), coalesce(percentile_cont(array[0.5, 0.99]) within group (order by 1000 * date_part('epoch', done_at - created_at)), '{0,0}')
from modulo.outbox
where id > $1`

// latency tells of the rows behind an id. created_at is the begin of the transaction that inserts; done_at has to be set
// when the receipt is there.
func (s *stage) latency(ctx context.Context, behind int64) (p paced, err error) {
	var quantiles []float64
	if err := s.db.QueryRow(ctx, latencySQL, behind).Scan(&p.rows, &quantiles); err != nil {
		return p, fmt.Errorf("latency: %w", err)
	}
	p.p50, p.p99 = quantiles[0], quantiles[1]
	return p, nil
}

// lastID is the highest so far; 0 in an empty table.
func (s *stage) lastID(ctx context.Context) (last int64, err error) {
	err = s.db.QueryRow(ctx, "select coalesce(max(id), 0) from modulo.outbox").Scan(&last)
	return last, err
}
