package local

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
)

// daemon is a server as its process: what starts and stops one is the same for all. Not safe for concurrent use.
type daemon struct {
	name    string // in errors
	log     string // file
	newCmd  func() *exec.Cmd
	ready   func(context.Context) error
	onDeath syscall.Signal // what the kernel sends it when this program ends without stopping it

	farewell syscall.Signal // asks it to end ...
	exitCode int            // ... as it then does

	run *process // nil: stopped
}

// PID is the server's main process; 0 while it is stopped.
func (d *daemon) PID() int {
	if d.run == nil {
		return 0
	}
	return d.run.pid()
}

// Start starts the stopped or killed server again, on the same ports and data, and returns when it accepts clients.
func (d *daemon) Start(ctx context.Context) error {
	if d.run != nil {
		return fmt.Errorf("start %s: already started", d.name)
	}
	run, err := spawn(d.newCmd(), d.log, d.onDeath)
	if err != nil {
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	if err := await(ctx, run, d.ready); err != nil {
		run.kill()
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	d.run = run
	return nil
}

// Stop shuts the server down: open connections are cut, its data is left clean. A stopped server stays stopped.
func (d *daemon) Stop() error {
	if d.run == nil {
		return nil
	}
	err := d.run.stop(d.farewell, d.exitCode)
	d.run = nil
	return wrap("stop", d.name, err)
}

// Kill ends all processes of the server with SIGKILL, as a crash would.
func (d *daemon) Kill() {
	if d.run != nil {
		d.run.kill()
		d.run = nil
	}
}

// Pause stops all processes of the server with SIGSTOP: connections stay open and nothing answers.
func (d *daemon) Pause() error {
	if d.run == nil {
		return wrap("pause", d.name, errors.New("not running"))
	}
	return wrap("pause", d.name, d.run.pause())
}

// Resume lets a paused server go on; one that is not paused is left alone.
func (d *daemon) Resume() error {
	if d.run == nil {
		return nil
	}
	return wrap("resume", d.name, d.run.resume())
}

func wrap(doing, name string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s %s: %w", doing, name, err)
	}
	return err
}
