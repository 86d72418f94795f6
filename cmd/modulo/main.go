// Command modulo drains PostgreSQL tables into a message broker, in parallel, without losing a row.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
	_ "time/tzdata" // time zones of cron schedules, also where the machine has none
)

// signalled is why a context ended: the operator or the system asked for it.
type signalled struct{ signal syscall.Signal }

func (s signalled) Error() string { return "ended by signal " + s.signal.String() }

// Is lets what a signal ended pass for cancelled: it is no trouble of a worker.
func (s signalled) Is(target error) bool { return target == context.Canceled }

// exitCode is what shells expect of a process that a signal ended.
func (s signalled) exitCode() int { return 128 + int(s.signal) }

// gcPercent is how much garbage there may be beside what is in use. Batches use their memory again, so that little garbage
// comes up, and half of Go's default costs nothing that can be measured. GOGC is obeyed.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ctx, stop := context.WithCancelCause(context.Background())
	finished := make(chan int, 1)
	go func() {
		finished <- run(ctx, os.Args[1:], terminal{os.Stdin, os.Stdout, os.Stderr, os.LookupEnv})
	}()
	code := 0
	select {
	case code = <-finished:
	case first := <-signals:
		stop(signalled{first.(syscall.Signal)})
		code = untilSecond(signals, finished)
	}
	os.Exit(code)
}

// sameSignal is within what time signals count as one: timeout(1) and some supervisors signal a process and then its group.
const sameSignal = 50 * time.Millisecond

// untilSecond waits for the end of a clean stop, or for another signal, which ends the process at once.
func untilSecond(signals <-chan os.Signal, finished <-chan int) (code int) {
	began := time.Now()
	for {
		select {
		case code := <-finished:
			return code
		case second := <-signals:
			if time.Since(began) < sameSignal {
				continue
			}
			fmt.Fprintln(os.Stderr, "second signal: stopping at once; batches in flight are sent again by the next start")
			return signalled{second.(syscall.Signal)}.exitCode()
		}
	}
}
