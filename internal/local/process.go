package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one run of a server's program, in a process group of its own.
type process struct {
	cmd    *exec.Cmd
	log    string
	exited <-chan struct{} // closed when the program has ended and cmd.ProcessState is known
	paused *wakeUp         // nil: not paused
}

// spawn starts cmd with its output appended to the file log. When this program ends without stopping it, the kernel
// sends it onDeath.
func spawn(cmd *exec.Cmd, log string, onDeath syscall.Signal) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, log: log}
	if p.exited, err = Launch(cmd, onDeath); err != nil {
		return nil, err
	}
	return p, nil
}

// Launch starts cmd in a process group of its own, out of reach of the terminal's Ctrl-C. When this program ends without
// stopping it, the kernel sends it onDeath. exited is closed when it has ended and cmd.ProcessState is known; whoever stops
// it waits for that.
func Launch(cmd *exec.Cmd, onDeath syscall.Signal) (exited <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	signalOnParentDeath(cmd.SysProcAttr, onDeath)
	started, ended := make(chan error, 1), make(chan struct{})
	go hold(cmd, started, ended) // ends with the program
	return ended, <-started
}

// hold starts the program and stays until it has ended. To Linux the parent is a thread, not a process: this one is
// kept from ending, and killing the child with it, for as long as the child runs.
func hold(cmd *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(ended)
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait() // how it ended is in ProcessState
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the program to end and waits. It is an error if the program ends, or had ended before, in another way
// than with this exit code; and if it does not end, in which case it is killed.
func (p *process) stop(ask syscall.Signal, exitCode int) error {
	if err := p.resume(); err != nil {
		return err
	}
	_ = p.cmd.Process.Signal(ask) // if it has ended already, its exit code tells
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		p.kill()
		return fmt.Errorf("killed, as it did not stop within %s%s", stopLimit, logTail(p.log))
	}
	if p.cmd.ProcessState.ExitCode() != exitCode {
		return fmt.Errorf("ended by itself: %s%s", p.cmd.ProcessState, logTail(p.log))
	}
	return nil
}

// kill ends the program and its children with SIGKILL and returns when all are gone.
func (p *process) kill() {
	family, _ := p.freeze() // the error of a dead program is no news
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	for _, pid := range family {
		for alive(pid) {
			time.Sleep(time.Millisecond) // orphans cannot be waited for
		}
	}
	_ = p.resume() // of the wake-up only: the rest is gone
}

// pause stops the program and its children with SIGSTOP. Should this program end meanwhile, they are woken up, so
// that they notice.
func (p *process) pause() error {
	if p.paused != nil {
		return errors.New("already paused")
	}
	family, err := p.freeze()
	if err != nil {
		return err
	}
	if p.paused, err = startWakeUp(append(family, p.pid())); err != nil {
		return errors.Join(err, p.cmd.Process.Signal(syscall.SIGCONT))
	}
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // a child may have ended
	}
	return nil
}

// freeze stops the program itself, so that it has no further children, and returns those it has.
func (p *process) freeze() (family []int, err error) {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	for state(p.pid()) != "T" && alive(p.pid()) {
		time.Sleep(time.Millisecond) // there is no way to wait for it
	}
	return children(p.pid()), nil
}

// resume ends a pause; without one it does nothing.
func (p *process) resume() error {
	if p.paused == nil {
		return nil
	}
	err := p.paused.now()
	p.paused = nil
	return err
}

// wakeUp is a shell that continues stopped processes when told to, or when we have ended and its input with us.
type wakeUp struct {
	shell *exec.Cmd
	input io.Closer
}

func startWakeUp(pids []int) (*wakeUp, error) {
	args := []string{"-c", `read line; kill -CONT "$@"; exit 0`, "wake-up"} // not all of them need to be alive
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	shell := exec.Command("sh", args...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of the terminal's Ctrl-C
	input, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := shell.Start(); err != nil {
		return nil, err
	}
	return &wakeUp{shell, input}, nil
}

func (w *wakeUp) now() error { return errors.Join(w.input.Close(), w.shell.Wait()) }

// children lists the processes whose parent is pid. They may be in sessions of their own, so the process group does
// not find them.
func children(pid int) []int {
	entries, _ := os.ReadDir("/proc") // absent where there is no Linux
	var found []int
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields := stat(child); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			found = append(found, child)
		}
	}
	return found
}

// alive says whether the process runs or is stopped; one that has ended and waits to be reaped is not alive.
func alive(pid int) bool {
	s := state(pid)
	return s != "" && s != "Z" && s != "X"
}

// state is a letter of proc(5), as in "T" for stopped; empty if there is no such process.
func state(pid int) string {
	if fields := stat(pid); len(fields) > 0 {
		return fields[0]
	}
	return ""
}

// stat returns what /proc/PID/stat holds behind the program's name, which may contain anything: the state, the parent
// and more.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}
