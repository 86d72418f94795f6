package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Ownership is where instances agree on who runs which worker.
type Ownership interface {
	// Join makes this process an instance, with a lease that begins now. The first Join of a process also states its
	// wishes for K.
	Join(ctx context.Context) (Instance, error)
}

// Instance is one membership of a process, from Join to Leave or until its lease has run out. Beat may run beside the
// other methods; those are called from one goroutine.
type Instance interface {
	// Beat renews the lease. ErrFenced: it had run out, and cannot be revived.
	Beat(ctx context.Context) error

	// Tick frees the workers of dead instances, takes free workers up to the instance's share, and tells what there
	// is to do. Once stopping, the instance takes nothing more and has to give back what it owns.
	Tick(ctx context.Context, stopping bool) (Tick, error)

	// Release gives workers back that have stopped. It is fenced by their epochs.
	Release(ctx context.Context, job string, workers []Owned) error

	// Leave ends the membership; what it still owns is free at once.
	Leave(ctx context.Context) error
}

// Tick is what an instance has to know and do now.
type Tick struct {
	Jobs  []JobState
	Dead  []string // instances whose lease has run out, found by this tick
	Moved bool     // the database is another server than before
	Soon  bool     // something is changing hands: tick again before long
}

// JobState is one job's part of a Tick.
type JobState struct {
	Job       string
	Workers   int     // K in force
	Next      int     // K that is being changed to; 0: none
	Owned     []Owned // this instance's workers, by number
	Unowned   int     // workers that nobody owns
	Reserved  int     // of these, the share of other instances whose lease lasts: nobody else takes them meanwhile
	Problems  int     // workers that wait for a person, because of their tokens on the broker
	Paused    bool
	Triggered int64 // grows with each trigger
	// Hold forbids to start a worker that this instance did not run before: the database was moved, and another
	// instance may still run it.
	Hold bool
}

// Owned is a worker that the instance owns.
type Owned struct {
	Shard
	Rest          // of the last owner; on Release: of this one
	GiveBack bool // finish the batch, stop, and release; if it is open and was not started: settle it, and release
	Open     bool // the last owner left something unsettled, and the broker has a record of it
	Takeover Takeover
}

// Takeover says how a worker came to be free before this tick took it; empty if the instance had it before.
type Takeover string

const (
	TakeoverNew        Takeover = "new"        // no owner so far: the first start, or K has changed
	TakeoverReleased   Takeover = "released"   // its owner had finished its pass and gave it back
	TakeoverUnfinished Takeover = "unfinished" // its owner died, or had to give it back in the middle of a pass
)

// OwnedError says that live instances own workers that were wanted alone.
type OwnedError struct {
	Job    string
	Owners []string
}

func (e *OwnedError) Error() string {
	return fmt.Sprintf("workers of job %s are owned by live instances: %q", e.Job, e.Owners)
}

// PausedError says that the job is paused.
type PausedError struct{ Job string }

func (e *PausedError) Error() string {
	return fmt.Sprintf("job %s is paused: `modulo resume %s`", e.Job, e.Job)
}

// Timing says how soon instances notice each other's end.
type Timing struct {
	Lease     time.Duration // a dead instance's workers are free after this time
	Heartbeat time.Duration // between renewals of the lease; also the most that one may take
	// Margin is how much earlier than the database an instance takes its lease to be over. It covers what clocks
	// differ in speed, and the time until a connection that was cut is cut at the broker too.
	Margin time.Duration
	Tick   time.Duration // between looks at who owns what
}

// DefaultTiming is for real life.
func DefaultTiming() Timing {
	return Timing{Lease: 15 * time.Second, Heartbeat: 3 * time.Second, Margin: 3 * time.Second, Tick: time.Second}
}

const (
	minLease = time.Second
	maxLease = 10 * time.Minute
	minTick  = 10 * time.Millisecond
	// minMarginShare is the least share of the lease that the margin must be.
	minMarginShare = 10
	// beatsPerLease is how many heartbeats must fit into the trusted part of the lease, so that one may fail.
	beatsPerLease = 3
)

// Check says what does not fit together.
func (t Timing) Check() error {
	var problems []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	wrong(t.Lease < minLease || t.Lease > maxLease, "lease: %s is not within %s and %s", t.Lease, minLease, maxLease)
	wrong(t.Heartbeat < minTick, "heartbeat: %s is less than %s", t.Heartbeat, minTick)
	wrong(t.Margin < t.Lease/minMarginShare, "margin: %s is less than a tenth of the lease, %s", t.Margin, t.Lease/minMarginShare)
	wrong(t.Lease-t.Margin < beatsPerLease*t.Heartbeat,
		"heartbeat: %s is more than a third of what the margin leaves of the lease, %s", t.Heartbeat, t.Lease-t.Margin)
	wrong(t.Tick < minTick || t.Tick > t.Lease, "tick: %s is not within %s and the lease", t.Tick, minTick)
	return errors.Join(problems...)
}

// trusted is how long after the begin of a renewal the lease may be relied on.
func (t Timing) trusted() time.Duration { return t.Lease - t.Margin }
