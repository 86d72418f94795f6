package jobs

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	minPause = 100 * time.Millisecond // after the first fault
	maxPause = 3 * time.Second        // an outage is noticed to be over within this time
)

// WorkerConfig is what a worker is made of.
type WorkerConfig struct {
	Job       *Job
	Shard     Shard
	Rows      Rows
	Failures  Failures
	Publisher Publisher
	Front     *Front // of the job; optional
	// Unsettled says that an earlier owner may have left confirmed rows without their marks.
	Unsettled bool
	// Lease ends the fetching and cuts the sending when it is lost; what is confirmed is marked all the same.
	Lease *Lease
	Log   zerolog.Logger
	// Grace is how long the batches in flight may take to finish once the worker is told to stop.
	Grace    time.Duration
	Observer Observer // optional
	Tracer   Tracer   // optional: nil costs nothing
}

// Worker is one of the K instances of a job: it drains the rows it owns, pass after pass. Its methods are called from
// one goroutine.
type Worker struct {
	WorkerConfig
	id      WorkerID
	builder *Builder

	fetching sync.Mutex // guards cursor and inFlight, which the stages of a pass share
	cursor   cursor
	inFlight inFlight

	doubtful  map[int64]Fault     // sent, outcome unknown since this fault: sending them again is a repeat
	unmarked  []int64             // confirmed, not marked when the last pass ended
	open      openMarks           // confirmed, not marked yet
	recalled  bool                // the broker was asked what it recalls of earlier owners
	held      map[string]struct{} // keys of an ordered job with a failure in this pass
	due       Batch               // failed rows to be tried before anything else
	dueLooked time.Time           // when Failures.Due was last asked
	suspects  suspects            // pending rows that a connection did not survive
	retried   suspects            // the same of rows to retry
	aside     isolated            // single suspects
	carried   time.Time           // when the broker last confirmed something
	trouble   trouble             // since when passes fail

	untold       Outcome // of passes that no line told of yet
	untoldPasses int
	told         time.Time // the last line
}

// Outcome counts what a pass did, in rows.
type Outcome struct {
	Fetched  int // pending rows read
	Sent     int // messages handed to the broker, repeats included
	Done     int // marked done
	Failed   int // refused for themselves
	Repeated int // sent again because the outcome of an earlier send is unknown
	Took     time.Duration
	Stopped  bool // told to stop before all that is pending was read and sent
	again    bool // there is more to do now
}

// Add sums up outcomes; Took becomes the longest.
func (o *Outcome) Add(other Outcome) {
	o.Fetched += other.Fetched
	o.Sent += other.Sent
	o.Done += other.Done
	o.Failed += other.Failed
	o.Repeated += other.Repeated
	o.Took = max(o.Took, other.Took)
	o.Stopped = o.Stopped || other.Stopped
	o.again = o.again || other.again
}

// NewWorker checks the job's message part and returns a worker that has not connected to anything yet.
func NewWorker(config WorkerConfig) (*Worker, error) {
	builder, err := NewBuilder(config.Job, config.Shard)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", config.Job.Name, err)
	}
	config.Log = config.Log.With().Str("job", config.Job.Name).Int("worker", config.Shard.Number).Logger()
	if config.Observer == nil {
		config.Observer = unobserved{}
	}
	return &Worker{
		WorkerConfig: config,
		id:           WorkerID{config.Job.Name, config.Shard.Number},
		builder:      builder,
		cursor:       newCursor(),
		doubtful:     map[int64]Fault{},
		held:         map[string]struct{}{},
	}, nil
}

// Rest is what a worker leaves to its next owner.
type Rest struct {
	Unfinished bool // a pass ended early
	Unsettled  bool // rows that the broker may hold have no mark
}

// Run passes once per trigger until ctx ends or the lease is lost, and after a fault as soon as its pause is over. Ending
// ctx stops the fetching; Run returns when the batches in flight are finished or the grace is over.
func (w *Worker) Run(ctx context.Context, triggers <-chan struct{}) Rest {
	defer w.leave()
	unfinished := w.run(ctx, triggers)
	return Rest{unfinished, w.unsettled()}
}

func (w *Worker) run(ctx context.Context, triggers <-chan struct{}) (unfinished bool) {
	held, cancel := w.Lease.Bind(ctx)
	defer cancel()
	faults := backoff{min: minPause, max: maxPause}
	for again := false; ; {
		if !again && !w.rest(held, triggers) {
			return len(triggers) > 0
		}
		outcome, err := w.Pass(ctx)
		again = outcome.again || err != nil
		if err == nil {
			faults.reset()
		} else if errors.Is(err, ErrFenced) || errors.Is(err, ErrMoved) || !pause(held, faults.next()) {
			return true
		}
		if held.Err() != nil {
			return true
		}
	}
}

// rest waits for a trigger; false if ctx ended first. Meanwhile the broker is let forget.
func (w *Worker) rest(held context.Context, triggers <-chan struct{}) bool {
	idle := time.NewTimer(forgetAfter)
	defer idle.Stop()
	for {
		select {
		case <-held.Done():
			return false
		case <-triggers:
			return true
		case <-idle.C:
			w.forget(held)
			idle.Reset(forgetAgain)
		}
	}
}

// Drain passes until nothing is left to do, once, or returns the first fault.
func (w *Worker) Drain(ctx context.Context) (Outcome, Rest, error) {
	defer w.leave()
	var total Outcome
	for {
		outcome, err := w.Pass(ctx)
		total.Add(outcome)
		if err != nil || !outcome.again || ctx.Err() != nil {
			return total, Rest{Unfinished: err != nil || ctx.Err() != nil, Unsettled: w.unsettled()}, err
		}
	}
}

// Pass connects if need be, settles what earlier passes left over and drains the pending rows, batch after batch. An
// error says why it ended early; everything that was not confirmed is still pending then.
func (w *Worker) Pass(ctx context.Context) (Outcome, error) {
	started := time.Now()
	w.Observer.Did(w.id, StepBegin, 0, 0, nil)
	var outcome Outcome
	err := guard(func() error { return w.pass(ctx, &outcome) })
	outcome.Took = time.Since(started)
	if err != nil {
		// A fault ends the fetching as well: Stopped is only what was told to.
		outcome.Stopped = ctx.Err() != nil && outcome.Stopped || toldToStop(ctx, outcome)
		w.sweep()
		w.forgetDue()
		if _, panicked := errors.AsType[*panicError](err); panicked {
			w.disconnect()
		}
	}
	w.report(ctx, outcome, err)
	w.Observer.Passed(w.id, outcome, err)
	return outcome, err
}

func (w *Worker) pass(ctx context.Context, outcome *Outcome) error {
	finish, cancel := outlive(ctx, w.Grace)
	defer cancel()
	ctx, unbind := w.Lease.Bind(ctx)
	defer unbind()
	if err := w.settle(ctx, finish, outcome); err != nil {
		return err
	}
	if err := w.retryDue(ctx, finish, outcome); err != nil {
		return err
	}
	clear(w.held)
	drained, err := w.drain(ctx, finish)
	outcome.Add(drained)
	if err != nil {
		return err
	}
	if err := w.tryAside(ctx, finish, outcome); err != nil {
		return err
	}
	if outcome.Sent == 0 && ctx.Err() == nil {
		return w.Publisher.Forget(ctx)
	}
	return nil
}

// forgetAfter is how long a worker rests before the broker is told that everything is marked; forgetPatience is how long
// that may take, and forgetAgain the time to the next look at what has become due in a long rest.
const (
	forgetAfter    = time.Second
	forgetPatience = time.Second
	forgetAgain    = 5 * time.Second
)

// forget lets the broker forget the rows of the last batches, if all of them are marked.
func (w *Worker) forget(ctx context.Context) {
	if w.unsettled() {
		return
	}
	held, unbind := w.Lease.Bind(ctx)
	defer unbind()
	held, cancel := context.WithTimeout(held, forgetPatience)
	defer cancel()
	if err := guard(func() error { return w.Publisher.Forget(held) }); err != nil {
		w.Log.Debug().Err(err).Msg("the broker goes on naming rows that are marked")
	}
}

func (w *Worker) disconnect() {
	if err := w.Publisher.Close(); err != nil {
		w.Log.Debug().Err(err).Msg("disconnect")
	}
}

// leave frees the connection and tells what a stop could not finish.
func (w *Worker) leave() {
	w.tellPasses()
	w.forget(context.Background())
	w.disconnect()
	w.Observer.Did(w.id, StepLeave, 0, 0, nil)
	if n := len(w.unmarked); n > 0 {
		w.Log.Error().Int("rows", n).Msg("stopped before confirmed rows were marked done")
	}
}

// panicError is a panic in one worker: a fault like others, so that it does not end the others.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// guard turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value, debug.Stack()}
		}
	}()
	return f()
}
