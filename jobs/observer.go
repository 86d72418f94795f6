package jobs

import "time"

// Observer is told what the workers do, for metrics and health. It is called on the hot path and from many goroutines at
// a time: it must be safe for concurrent use, must not block, and must not keep what it is given.
type Observer interface {
	// Did tells of a step, with the rows it was about. An error says that the step did not work; it may be tried again.
	Did(w WorkerID, step Step, rows int, took time.Duration, err error)

	// Passed tells of the end of a pass.
	Passed(w WorkerID, outcome Outcome, err error)

	// Confirmed tells of messages that have just got their receipt.
	Confirmed(w WorkerID, messages []Message)

	// Repeated tells of a row that is sent again, because this fault left open what became of it.
	Repeated(w WorkerID, after Fault)

	// SetBack tells that the broker has lost transactions of the worker that it had confirmed.
	SetBack(w WorkerID, transactions int64)

	// Failed tells of a row that was refused for itself, once it has its record.
	Failed(w WorkerID, class Class)
}

// InstanceObserver is told what an instance learns of the database. What holds for an Observer holds for it.
type InstanceObserver interface {
	// Asked tells of every join, heartbeat and tick: nil or ErrFenced means that the database answered.
	Asked(err error)

	// Ticked tells what a tick found, before it is acted upon.
	Ticked(tick Tick)

	// Due tells that the schedule calls for a pass of every worker of the job now, before any of them is woken.
	Due(job string)

	// Listens tells whether inserts are heard of. It is told when that changes, and false at first, if a job listens.
	Listens(is bool)

	// Left says that the instance owns nothing any more: its lease is over, or it has given everything back. Its workers
	// may still finish what they have in flight. Once does not say so: the process ends.
	Left()
}

// WorkerID names a worker of this instance.
type WorkerID struct {
	Job    string
	Number int
}

// Step is a part of a pass.
type Step int

const (
	StepBegin   Step = iota // a pass begins
	StepConnect             // a connection to the broker is there, or was opened
	StepFetch
	StepPublish // from the first byte to the last receipt
	StepMark
	StepLeave // the worker has ended
)

// unobserved is the Observer and InstanceObserver of those who want none.
type unobserved struct{}

func (unobserved) Did(WorkerID, Step, int, time.Duration, error) {}
func (unobserved) Passed(WorkerID, Outcome, error)               {}
func (unobserved) Confirmed(WorkerID, []Message)                 {}
func (unobserved) Repeated(WorkerID, Fault)                      {}
func (unobserved) SetBack(WorkerID, int64)                       {}
func (unobserved) Failed(WorkerID, Class)                        {}
func (unobserved) Asked(error)                                   {}
func (unobserved) Ticked(Tick)                                   {}
func (unobserved) Due(string)                                    {}
func (unobserved) Listens(bool)                                  {}
func (unobserved) Left()                                         {}
