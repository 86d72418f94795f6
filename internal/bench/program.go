package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"modulo/internal/local"
)

// program is `modulo run` as a process of its own, started anew for each round.
type program struct {
	*stage
	*Case
	cmd    *exec.Cmd
	exited <-chan struct{}
	log    *local.Output
	http   local.Port
	load   *load
}

// primers is how many rows of each worker are sent before anything is measured: every connection is open then, and every
// statement prepared.
const primers = 20

func (p *program) open(ctx context.Context) (int, error) {
	if err := p.start(); err != nil {
		return 0, err
	}
	sent := primers * p.Workers
	last, err := p.fillSeen(ctx, sent, p.Payload)
	if err != nil {
		return 0, err
	}
	return sent, p.whileAlive(ctx, func(ctx context.Context) error { return p.awaitPrimers(ctx, last) })
}

// whileAlive ends the context of wait when the process ends.
func (p *program) whileAlive(ctx context.Context, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-p.exited:
			cancel(fmt.Errorf("modulo run: %s\n%s", p.cmd.ProcessState, p.log.String()))
		case <-ctx.Done():
		}
	})
	err := wait(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	watching.Wait()
	return err
}

// awaitPrimers wakes the workers until they have done them: they may not be listening yet.
func (p *program) awaitPrimers(ctx context.Context, last int64) error {
	tick := time.NewTicker(wakeInterval)
	defer tick.Stop()
	for {
		if _, err := p.db.Exec(ctx, "notify modulo_rows, 'modulo.outbox'"); err != nil {
			return err
		}
		if done, err := p.done(ctx, last, p.Workers); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

const wakeInterval = 100 * time.Millisecond

func (p *program) start() error {
	config, err := p.configure()
	if err != nil {
		return err
	}
	if p.http, err = local.FreePort(); err != nil {
		return err
	}
	p.log = &local.Output{}
	p.cmd = exec.Command(p.cfg.Program, "run", "--config", config, "--http", p.http.Addr(), "--log-level", "warn", "--log-format", "json")
	p.cmd.Env = p.environment()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.exited, err = local.Launch(p.cmd, syscall.SIGKILL)
	if err != nil {
		p.cmd = nil
	}
	return err
}

// configure writes the configuration: the defaults but for what makes the case, and for the clock of a drain: there the
// commit that brings the rows wakes all workers, so that they begin at once.
func (p *program) configure() (file string, err error) {
	mq := p.broker
	address := mq.URL
	if p.Delay > 0 {
		if len(p.hosts) != 1 || p.hosts[0].TLS != nil {
			return "", errors.New("confirmations can be delayed for one address without TLS only")
		}
		through, err := p.through(p.hosts[0].Address, p.Delay)
		if err != nil {
			return "", err
		}
		u := url.URL{Scheme: "stomp", Host: through}
		if p.hosts[0].Username != "" {
			u.User = url.UserPassword(p.hosts[0].Username, p.hosts[0].Password)
		}
		address = u.String()
	}
	repeats := "possible"
	if p.Tokens {
		repeats = "none"
	}
	job := map[string]any{
		"source": map[string]string{"table": "modulo.outbox"}, "workers": p.Workers, "batch": p.Batch, "repeats": repeats,
	}
	switch {
	case p.Task == Drain:
		maps.Copy(job, map[string]any{"every": "1m", "listen": true})
	case p.Listen:
		job["listen"] = true
	}
	text, err := json.Marshal(map[string]any{ // which is YAML as well
		"broker": map[string]any{
			"url": address, "username": mq.Username, "password": mq.Password, "virtual_host": mq.VirtualHost,
			"confirm": p.Confirm, "token_prefix": p.tokenPrefix(),
			"tls": map[string]string{"ca_file": mq.TLS.CAFile, "cert_file": mq.TLS.CertFile, "key_file": mq.TLS.KeyFile, "server_name": mq.TLS.ServerName},
		},
		"jobs": map[string]any{p.job(): job},
	})
	if err != nil {
		return "", err
	}
	file = filepath.Join(p.dir, p.job()+".yaml")
	return file, os.WriteFile(file, text, 0o600)
}

// job is a name of the case's own: what the database and the broker know of one case does not matter to another.
func (p *program) job() string {
	name := fmt.Sprintf("%s-%d-%d-%d-%d", p.Confirm, p.Workers, p.Batch, p.Payload, p.Delay.Milliseconds())
	if p.Tokens {
		name += "-tokens"
	}
	if p.Listen {
		name += "-listen"
	}
	return name + "-" + string(p.Task)
}

func (p *program) fill(ctx context.Context, rows int) (err error) {
	p.load, err = p.stage.fill(ctx, rows, p.Payload)
	return err
}

func (p *program) drain(ctx context.Context) error {
	l := p.load
	p.load = nil
	if err := l.commit(ctx); err != nil {
		return err
	}
	return p.whileAlive(ctx, func(ctx context.Context) error { return p.awaitDone(ctx, l.last, p.Workers) })
}

func (p *program) pace(ctx context.Context, length time.Duration) (r paced, err error) {
	before, err := p.lastID(ctx)
	if err == nil {
		_, err = p.insertPaced(ctx, p.Payload, length)
	}
	if err == nil {
		err = p.whileAlive(ctx, func(ctx context.Context) error { return p.awaitDone(ctx, math.MaxInt64, 0) })
	}
	if err != nil {
		return r, err
	}
	return p.latency(ctx, before)
}

func (p *program) process() int { return p.cmd.Process.Pid }

// allocations reads the metric; the objects of one answer are among the next one's, a few thousand.
func (p *program) allocations(ctx context.Context) (float64, bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http.Addr()+"/metrics", nil)
	if err != nil {
		return 0, false, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, false, err
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return 0, false, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("go_memstats_mallocs_total ")); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(string(value)), 64)
			return n, true, err
		}
	}
	return 0, false, nil
}

// stopPatience is longer than the program's own.
const stopPatience = 30 * time.Second

func (p *program) shut() error {
	if p.load != nil {
		_ = p.load.tx.Rollback(context.Background()) // an error has come before
		p.load = nil
	}
	if p.cmd == nil {
		return nil
	}
	var err error
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // if it has ended already, its exit code tells
	select {
	case <-p.exited:
	case <-time.After(stopPatience):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	if !p.cmd.ProcessState.Success() {
		err = fmt.Errorf("modulo run: %s\n%s", p.cmd.ProcessState, p.log.String())
	}
	p.cmd = nil
	return err
}

func (p *program) close() error { return nil }
