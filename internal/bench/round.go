package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// contender is what a case measures. The calls of a round are open, what the task takes, shut, in this order.
type contender interface {
	// open gets ready and warm, and returns how many messages it has sent for that.
	open(ctx context.Context) (sent int, err error)
	// fill provides the rows to drain.
	fill(ctx context.Context, rows int) error
	// drain returns when every row is delivered and marked.
	drain(ctx context.Context) error
	// pace delivers rows that come one by one for some time, and returns what became of them.
	pace(ctx context.Context, length time.Duration) (paced, error)
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
	// CPU is per row where the rows come as fast as possible, else the share of a core.
	ProgramCPU    *float64 `json:"program_cpu_us_per_row,omitempty"`
	DatabaseCPU   *float64 `json:"database_cpu_us_per_row,omitempty"`
	BrokerCPU     *float64 `json:"broker_cpu_us_per_row,omitempty"`
	ProgramShare  *float64 `json:"program_cpu_percent,omitempty"`
	DatabaseShare *float64 `json:"database_cpu_percent,omitempty"`
	BrokerShare   *float64 `json:"broker_cpu_percent,omitempty"`
	Allocations   *float64 `json:"allocations_per_row,omitempty"`
	PeakMemory    *float64 `json:"peak_memory_bytes,omitempty"`
	// Latency is from the begin of the transaction that inserts a row to the mark, which comes after the receipt.
	LatencyP50 *float64 `json:"latency_p50_ms,omitempty"`
	LatencyP99 *float64 `json:"latency_p99_ms,omitempty"`
}

// roundPatience bounds a round.
const roundPatience = 5 * time.Minute

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
	ctx, cancel := context.WithTimeout(ctx, roundPatience)
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
		r, err = s.measure(ctx, c, who, rows)
	}
	if err != nil {
		return r, err
	}
	opened = false
	if err := who.shut(); err != nil {
		return r, err
	}
	return r, s.check(ctx, c, sent+r.Rows)
}

// How long tasks last that have no end of their own, in times of a round that drains.
const (
	paceRounds = 3
	idleRounds = 4
)

// measure does the task between two readings of the meters.
func (s *stage) measure(ctx context.Context, c *Case, who contender, rows int) (r Round, err error) {
	task := who.drain
	var p paced
	switch c.Task {
	case Pace:
		task = func(ctx context.Context) (err error) {
			p, err = who.pace(ctx, paceRounds*s.cfg.RoundTime)
			return err
		}
	case Idle:
		task = func(ctx context.Context) error { return sleep(ctx, idleRounds*s.cfg.RoundTime) }
	default:
		if err := who.fill(ctx, rows); err != nil {
			return r, err
		}
	}
	before, err := s.read(ctx, who)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := task(ctx); err != nil {
		return r, err
	}
	took := time.Since(began)
	after, err := s.read(ctx, who)
	if err != nil {
		return r, err
	}
	switch c.Task {
	case Pace:
		r = newRound(p.rows, took, before, after)
		r.LatencyP50, r.LatencyP99 = &p.p50, &p.p99
	case Idle:
		r = newRound(0, took, before, after)
	default:
		r = newRound(rows, took, before, after)
		r.ProgramShare, r.DatabaseShare, r.BrokerShare = nil, nil, nil
		return r, nil
	}
	r.ProgramCPU, r.DatabaseCPU, r.BrokerCPU, r.Allocations = nil, nil, nil, nil
	return r, nil
}

func sleep(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(length):
		return nil
	}
}

// newRound works out everything that two readings tell.
func newRound(rows int, took time.Duration, before, after meters) Round {
	difference := func(before, after *float64, divisor float64) *float64 {
		if before == nil || after == nil {
			return nil
		}
		return new((*after - *before) / divisor)
	}
	perRow := func(before, after *float64) *float64 { return difference(before, after, float64(max(rows, 1))) }
	percent := func(before, after *float64) *float64 {
		return difference(before, after, float64(took.Microseconds())/100)
	}
	return Round{
		Rows: rows, Seconds: took.Seconds(), Rate: float64(rows) / took.Seconds(),
		ProgramCPU: perRow(before.program, after.program), ProgramShare: percent(before.program, after.program),
		DatabaseCPU: perRow(before.database, after.database), DatabaseShare: percent(before.database, after.database),
		BrokerCPU: perRow(before.broker, after.broker), BrokerShare: percent(before.broker, after.broker),
		Allocations: perRow(before.allocations, after.allocations), PeakMemory: after.memory,
	}
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
