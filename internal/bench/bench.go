// Package bench measures on the spot how many rows per second Modulo drains, beside what the broker and the database take
// at most and beside other programs with the same task. Its way is Plan (which cases), stage (servers, table, queue),
// round (fill, drain, check that the queue got exactly the rows), Report (medians, ratios, targets).
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"modulo/broker"
	"modulo/broker/stomp"
)

// Config says what to measure, and on what.
type Config struct {
	Plan Plan
	// Rounds is how often each case is measured, by turns with the others; the median counts.
	Rounds int
	// Rows is the most rows of a round, RoundTime about how long a round is to take: whichever is reached first.
	Rows      int
	RoundTime time.Duration

	// Program is the modulo to measure, and its version.
	Program, Version string
	// Rivals is a directory with the programs that `make bench` builds; empty: there are none.
	Rivals string
	// Own is somebody's own servers; nil: private ones are started.
	Own *Servers
	// Progress is told what happens, line by line.
	Progress io.Writer
}

// Servers are somebody's own: a database of our own is made on the one and dropped again, queues of our own on the other.
type Servers struct {
	DatabaseURL string
	Broker      broker.Config
	Hosts       []stomp.Host // of Broker
}

// Run measures and returns what it found. When ctx ends it stops, cleans up and returns the cause.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	cases, err := cfg.Plan.cases(cfg.Rivals != "")
	if err != nil {
		return nil, err
	}
	if cfg.Rounds < 1 || cfg.Rows < 1 || cfg.RoundTime <= 0 {
		return nil, fmt.Errorf("%w: rounds, rows and the time of a round have to be positive", ErrPlan)
	}
	b := &bench{Config: cfg, cases: cases, began: time.Now()}
	if b.stage, err = openStage(ctx, cfg); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stage.close()) }()
	if err := b.measure(ctx); err != nil {
		return nil, err
	}
	return b.report(), nil
}

// bench is one run.
type bench struct {
	Config
	cases []*Case
	stage *stage
	began time.Time
}

// measure warms every case up, and then measures them by turns.
func (b *bench) measure(ctx context.Context) (err error) {
	running := map[*Case]contender{}
	defer func() {
		for _, c := range running {
			err = errors.Join(err, c.close())
		}
	}()
	b.tell("%d cases, %d rounds of some %s: about %s", len(b.cases), b.Rounds, b.RoundTime, b.estimate())
	for round := -warmUps; round < b.Rounds; round++ {
		for _, c := range b.cases {
			if running[c] == nil {
				running[c] = b.stage.contender(c)
			}
			if c.Task != Drain && round < -1 || c.Task == Idle && round < 0 {
				continue
			}
			rows := c.rows
			if round == -warmUps {
				rows = c.warmUp(b.Rows)
			}
			r, err := b.stage.round(ctx, c, running[c], rows)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			if round < 0 {
				c.rows = c.size(r.Rate, b.Rows, b.RoundTime)
				b.tell("warm-up  %-44s %s", c.Name, r.brief(c.Task))
				continue
			}
			c.Rounds = append(c.Rounds, r)
			b.tell("round %d  %-44s %s", round+1, c.Name, r.brief(c.Task))
		}
	}
	return nil
}

// warmUps is how many rounds do not count. The first one also warms the broker's virtual machine; both tell how many rows
// make a round of the time that is wanted.
const warmUps = 2

// overhead is what a round takes besides its drain: to fill, to start a process, to check the queue.
const overhead = 4 * time.Second

func (b *bench) estimate() time.Duration {
	var total time.Duration
	for _, c := range b.cases {
		length := map[Task]time.Duration{Drain: 1, Pace: paceRounds, Idle: idleRounds}[c.Task] * b.RoundTime
		total += time.Duration(b.Rounds+warmUps) * (length + overhead)
	}
	return total.Round(time.Minute)
}

func (b *bench) tell(format string, args ...any) {
	fmt.Fprintf(b.Progress, format+"\n", args...)
}
