package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"modulo/internal/local"
)

// rival is another program with the same task, which lasts as long as its case, so that a virtual machine stays warm. It
// takes commands line by line and answers each with "ok" or with what went wrong: "drain"; "work MS" to go by a clock for
// some time; and for one with a table of its own "fill ROWS PAYLOAD" and "pace RATE MS PAYLOAD".
type rival struct {
	*stage
	*Case
	cmd    *exec.Cmd
	exited <-chan struct{}
	in     io.WriteCloser
	pipe   *os.File      // its output
	out    *bufio.Reader // of pipe
	log    local.Output
}

func (r *rival) open(context.Context) (int, error) {
	if r.cmd != nil {
		return 0, nil
	}
	cmd, err := r.command()
	if err != nil {
		return 0, err
	}
	if r.in, err = cmd.StdinPipe(); err != nil {
		return 0, err
	}
	out, inner, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer inner.Close()
	cmd.Stdout, cmd.Stderr = inner, &r.log
	if r.exited, err = local.Launch(cmd, syscall.SIGKILL); err != nil {
		return 0, errors.Join(err, out.Close())
	}
	r.cmd, r.pipe, r.out = cmd, out, bufio.NewReader(out)
	return 0, nil
}

// javaHeap is enough for thousands of rows in memory, and all that a batch needs.
const javaHeap = "-Xmx256m"

func (r *rival) command() (*exec.Cmd, error) {
	file := filepath.Join(r.cfg.Rivals, string(r.Kind))
	cmd := exec.Command(file)
	address := r.hosts[0].Address
	if r.Kind == Original {
		cmd = exec.Command("java", javaHeap, "-cp", file+":"+local.ClientJars()+":/usr/share/java/postgresql.jar", "Original")
		address = strings.TrimPrefix(r.mq.OpenWireURL(), "tcp://")
	}
	if r.Delay > 0 {
		var err error
		if address, err = r.through(address, r.Delay); err != nil {
			return nil, err
		}
	}
	cmd.Env = append(r.environment(), "BENCH_BROKER="+address, "BENCH_QUEUE="+strings.TrimPrefix(r.queue(), "/queue/"),
		fmt.Sprintf("BENCH_WORKERS=%d", r.Workers))
	return cmd, nil
}

func (r *rival) fill(ctx context.Context, rows int) error {
	if r.Kind == River {
		return r.ask(ctx, fmt.Sprintf("fill %d %d", rows, r.Payload))
	}
	_, err := r.fillSeen(ctx, rows, r.Payload)
	return err
}

// pace has the program work on its clock until the rows that come meanwhile are done. River's come from itself.
func (r *rival) pace(ctx context.Context, length time.Duration) (p paced, err error) {
	if r.Kind == River {
		return r.paceRiver(ctx, length)
	}
	before, err := r.lastID(ctx)
	if err != nil {
		return p, err
	}
	worked := make(chan error, 1)
	go func() { worked <- r.ask(ctx, fmt.Sprintf("work %d", (length+clock).Milliseconds())) }()
	_, err = r.insertPaced(ctx, r.Payload, length)
	if err := errors.Join(err, <-worked); err != nil {
		return p, err
	}
	return r.latency(ctx, before)
}

// clock is how often the programs look for rows that come one by one: Modulo's default.
const clock = 500 * time.Millisecond

const riverLatencySQL = `
select count(*), coalesce(percentile_cont(array[0.5, 0.99]) within group (order by 1000 * date_part('epoch', finalized_at - created_at)), '{0,0}')
from river_job`

func (r *rival) paceRiver(ctx context.Context, length time.Duration) (p paced, err error) {
	if err := r.ask(ctx, fmt.Sprintf("pace %d %d %d", paceRate, length.Milliseconds(), r.Payload)); err != nil {
		return p, err
	}
	var quantiles []float64
	if err := r.db.QueryRow(ctx, riverLatencySQL).Scan(&p.rows, &quantiles); err != nil {
		return p, fmt.Errorf("latency: %w", err)
	}
	p.p50, p.p99 = quantiles[0], quantiles[1]
	return p, nil
}

func (r *rival) drain(ctx context.Context) error { return r.ask(ctx, "drain") }

// ask gives a command and waits for its end; when ctx ends, so does the program.
func (r *rival) ask(ctx context.Context, command string) error {
	defer context.AfterFunc(ctx, func() { _ = r.cmd.Process.Kill() })()
	if _, err := io.WriteString(r.in, command+"\n"); err != nil {
		return fmt.Errorf("%s: %w\n%s", r.Kind, err, r.log.String())
	}
	answer, err := r.out.ReadString('\n')
	if answer = strings.TrimSpace(answer); err != nil || answer != "ok" {
		return errors.Join(context.Cause(ctx), fmt.Errorf("%s: %s: %q %w\n%s", r.Kind, command, answer, err, r.log.String()))
	}
	return nil
}

func (r *rival) process() int { return r.cmd.Process.Pid }

func (r *rival) allocations(context.Context) (float64, bool, error) { return 0, false, nil }

func (r *rival) shut() error { return nil }

// close ends the program by ending its input.
func (r *rival) close() error {
	if r.cmd == nil {
		return nil
	}
	err := r.in.Close()
	<-r.exited
	err = errors.Join(err, r.pipe.Close())
	if !r.cmd.ProcessState.Success() {
		err = errors.Join(err, fmt.Errorf("%s: %s\n%s", r.Kind, r.cmd.ProcessState, r.log.String()))
	}
	r.cmd = nil
	return err
}
