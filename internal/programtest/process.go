package programtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"modulo/internal/local"
)

// Process is one run of the program. Should the tests end without stopping it, the kernel kills it; where the kernel is
// not Linux, it dies of its next log line, which goes through a pipe of ours.
type Process struct {
	Log    *Log
	cmd    *exec.Cmd
	exited <-chan struct{} // closed when the process has ended and cmd.ProcessState is known
}

// Start runs the program with arguments and no environment but PATH.
func Start(args ...string) (*Process, error) { return launch(exec.Command(binary, args...)) }

// StartIn is Start in a network namespace of that name, as `ip netns` makes them; "" is our own. It needs root.
func StartIn(namespace string, args ...string) (*Process, error) {
	if namespace == "" {
		return Start(args...)
	}
	// ip becomes the program: the process and its signals are the program's own.
	return launch(exec.Command("ip", append([]string{"netns", "exec", namespace, binary}, args...)...))
}

func launch(cmd *exec.Cmd) (p *Process, err error) {
	p = &Process{Log: &Log{}, cmd: cmd}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no settings of the developer's
	cmd.Stderr = p.Log
	if p.exited, err = local.Launch(cmd, syscall.SIGKILL); err != nil {
		return nil, err
	}
	return p, nil
}

var listens = regexp.MustCompile(`"address":"([^"]+)","time":"[^"]*","message":"http listens`)

// Address waits until a service, whose log is JSON, says where it answers, "host:port".
func (p *Process) Address(t testing.TB, limit time.Duration) (address string) {
	t.Helper()
	Within(t, limit, "the address of the service", func() (bool, error) {
		found := listens.FindStringSubmatch(p.Log.String())
		if found != nil {
			address = found[1]
		}
		return found != nil, nil
	})
	return address
}

// EndWith kills the process after the test, if it still runs, and logs its story if the test failed.
func (p *Process) EndWith(t testing.TB) {
	t.Cleanup(func() {
		_ = p.Kill() // it may have ended
		if t.Failed() {
			t.Logf("log of instance %d, without passes:\n%s", p.PID(), p.Log.Story())
		}
	})
}

// Run runs a command of the program to its end and returns what it printed, and its exit code.
func Run(ctx context.Context, args ...string) (output string, code int, err error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

// Do is Run for a command that must succeed, in a test; it returns what the command printed.
func Do(t testing.TB, args ...string) (output string) {
	t.Helper()
	output, code, err := Run(t.Context(), args...)
	if err != nil || code != 0 {
		t.Fatalf("modulo %s: exit code %d, %v\n%s", strings.Join(args, " "), code, err, output)
	}
	return output
}

// PID is how the operating system, and the table modulo.instances, name the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running says whether it has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// State tells how a process that is not Running ended, and ExitCode with which code.
func (p *Process) State() string { return p.cmd.ProcessState.String() }

// ExitCode is -1 for one that was ended by a signal.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Signal does not wait for any effect. Its error is a process that has ended.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%s: %w\n%s", s, err, p.Log.Tail())
	}
	return nil
}

// Kill is kill -9 and waits for the end. It is an error if the process has ended by itself before.
func (p *Process) Kill() error {
	_ = p.cmd.Process.Kill() // a process that has ended is found out below
	<-p.exited
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("the program ended by itself: %s\n%s", p.State(), p.Log.Tail())
	}
	return nil
}

// End sends a signal and returns the exit code. It is an error if the process lives on for longer than limit.
func (p *Process) End(signal syscall.Signal, limit time.Duration) (code int, err error) {
	if err := p.Signal(signal); err != nil {
		return 0, err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return p.ExitCode(), nil
	case <-timer.C:
		return 0, fmt.Errorf("%s: still running after %s\n%s", signal, limit, p.Log.Tail())
	}
}

// Stop asks for a clean end by SIGTERM; anything else than that within limit is an error.
func (p *Process) Stop(limit time.Duration) error {
	code, err := p.End(syscall.SIGTERM, limit)
	if err == nil && code != 0 {
		err = fmt.Errorf("clean stop: %s\n%s", p.State(), p.Log.Tail())
	}
	return err
}

// Log is what a process writes to stderr.
type Log struct{ local.Output }

// Has says whether the text was written.
func (l *Log) Has(text string) bool { return strings.Contains(l.String(), text) }

// tailLines is how much of a log helps to see why a process ended.
const tailLines = 30

// Tail is the last lines.
func (l *Log) Tail() string {
	lines := strings.Split(strings.TrimSpace(l.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// Story is the log, as JSON, without the lines of single passes.
func (l *Log) Story() string {
	var story strings.Builder
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, `"message":"pass"`) {
			story.WriteString(line)
		}
	}
	return story.String()
}
