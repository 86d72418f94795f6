package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// contender is what a case measures. The calls of a round are open, fill, drain, shut, in this order.
type contender interface {
	// open gets ready and warm, and returns how many messages it has sent for that.
	open(ctx context.Context) (sent int, err error)
	// fill provides the rows to drain.
	fill(ctx context.Context, rows int) error
	// drain returns when every row is delivered and marked.
	drain(ctx context.Context) error
	// process is what does the work, while it is open; 0: this process.
	process() int
	// allocations is how many objects the process has allocated so far; ok: it tells.
	allocations(ctx context.Context) (n float64, ok bool, err error)
	// shut ends the round, close what lasts longer. Both do nothing where there is nothing to end.
	shut() error
	close() error
}

// Round is one measurement. Values that the case or the servers do not tell are nil.
type Round struct {
	Rows    int     `json:"rows"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rows_per_second"`
	// CPU is in seconds per million rows, which is microseconds per row.
	ProgramCPU  *float64 `json:"program_cpu_us_per_row,omitempty"`
	DatabaseCPU *float64 `json:"database_cpu_us_per_row,omitempty"`
	BrokerCPU   *float64 `json:"broker_cpu_us_per_row,omitempty"`
	Allocations *float64 `json:"allocations_per_row,omitempty"`
	PeakMemory  *float64 `json:"peak_memory_bytes,omitempty"`
}

// drainPatience bounds a round.
const drainPatience = 5 * time.Minute

func (s *stage) contender(c *Case) contender {
	switch c.Kind {
	case Ceiling:
		return &ceiling{stage: s, Case: c}
	case Database:
		return &tableCeiling{stage: s, Case: c}
	case Modulo:
		return &program{stage: s, Case: c}
	}
	return &rival{stage: s, Case: c}
}

// round measures once, and checks that the queue got exactly the rows.
func (s *stage) round(ctx context.Context, c *Case, who contender, rows int) (r Round, err error) {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	if err := s.reset(ctx); err != nil {
		return r, err
	}
	opened := true
	defer func() {
		if opened {
			err = errors.Join(err, who.shut())
		}
	}()
	sent, err := who.open(ctx)
	if err == nil {
		err = who.fill(ctx, rows)
	}
	if err != nil {
		return r, err
	}
	if r, err = s.measure(ctx, who, rows); err != nil {
		return r, err
	}
	opened = false
	if err := who.shut(); err != nil {
		return r, err
	}
	return r, s.check(ctx, c, sent+rows)
}

// measure drains between two readings of the meters.
func (s *stage) measure(ctx context.Context, who contender, rows int) (r Round, err error) {
	before, err := s.read(ctx, who)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := who.drain(ctx); err != nil {
		return r, err
	}
	took := time.Since(began).Seconds()
	after, err := s.read(ctx, who)
	if err != nil {
		return r, err
	}
	perRow := func(before, after *float64) *float64 {
		if before == nil || after == nil {
			return nil
		}
		return new((*after - *before) / float64(rows))
	}
	return Round{
		Rows: rows, Seconds: took, Rate: float64(rows) / took,
		ProgramCPU: perRow(before.program, after.program), DatabaseCPU: perRow(before.database, after.database),
		BrokerCPU: perRow(before.broker, after.broker), Allocations: perRow(before.allocations, after.allocations),
		PeakMemory: after.memory,
	}, nil
}

// meters are CPU times in microseconds, counts, bytes; nil: not known.
type meters struct{ program, database, broker, allocations, memory *float64 }

func (s *stage) read(ctx context.Context, who contender) (m meters, err error) {
	read := func(cpu func(int) (time.Duration, error), pid int) *float64 {
		used, readErr := cpu(pid)
		if readErr != nil {
			err = errors.Join(err, readErr)
			return nil
		}
		return new(float64(used.Microseconds()))
	}
	pid := who.process()
	if pid == 0 {
		m.program = read(processCPU, os.Getpid())
	} else {
		m.program = read(processCPU, pid)
		peak, memoryErr := peakMemory(pid)
		m.memory, err = new(float64(peak)), errors.Join(err, memoryErr)
	}
	if s.pg != nil {
		m.database = read(familyCPU, s.pg.PID())
	}
	if s.mq != nil {
		m.broker = read(processCPU, s.mq.PID())
	}
	n, ok, allocationErr := who.allocations(ctx)
	if ok {
		m.allocations = &n
	}
	return m, errors.Join(err, allocationErr)
}

// check takes everything from the queue: a case that loses or repeats rows has no rate.
func (s *stage) check(ctx context.Context, c *Case, sent int) error {
	if c.needsTable() && c.Kind != River {
		pending := 0
		if err := s.db.QueryRow(ctx, "select count(*) from modulo.outbox where done_at is null").Scan(&pending); err != nil {
			return err
		}
		if pending > 0 {
			return fmt.Errorf("%d rows are still pending", pending)
		}
	}
	if !c.delivers() {
		return nil
	}
	got, err := take(ctx, s.hosts, s.queue(), sent)
	if err == nil && (got.events != sent || got.messages != sent) {
		err = fmt.Errorf("the queue got %d messages of %d events, should be %d", got.messages, got.events, sent)
	}
	return err
}
