package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// sessions counts the database sessions of modulo.
const sessionsSQL = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'modulo'"

// TestRun: the service sends what is there and what is inserted while it runs, and a stop leaves nothing behind.
func TestRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const insert = "insert into modulo.outbox (destination, payload) select $1, n from generate_series(1, 50) as n"
	f.exec(insert, f.queue)
	proxy, brokerURL := testservers.Through(t, f.mq.URL()) // only to count connections
	running := f.start("run", "--every", "20ms", "--workers", "3", "--broker-url", brokerURL)
	f.drained()
	if n := proxy.Links(); n != 3 {
		t.Errorf("%d connections to the broker, want one per worker", n)
	}
	for range 3 {
		f.exec(insert, f.queue)
		f.drained()
	}
	if code := running.end(); code != 0 {
		t.Errorf("exit code %d\n%s", code, running.err.String())
	}
	if arrived := len(f.taken(f.queue)); arrived != 200 {
		t.Errorf("%d messages, want 200", arrived)
	}
	await(t, "no session left", func() bool { return one[int](f, sessionsSQL) == 0 })
	await(t, "no connection to the broker left", func() bool { return proxy.Links() == 0 })
	if told := running.out.String(); told != "" {
		t.Errorf("on stdout: %s", told)
	}
	for _, line := range []string{"job starts", "service starts", "pass", "stopping: no new batch", "stopped"} {
		if !strings.Contains(running.err.String(), line) {
			t.Errorf("not in the log: %s\n%s", line, running.err.String())
		}
	}
}

const scheduleConfig = `
jobs:
  yearly:
    cron: 0 0 1 1 *
    timezone: Europe/Berlin
    source: {table: modulo.outbox, where: done_at is null and type = 'yearly'}
  often:
    every: 10ms
    source: {table: modulo.outbox, where: done_at is null and type = 'often'}
  not_chosen:
    every: 10ms
    source: {table: modulo.outbox, where: done_at is null and type = 'not chosen'}
`

// TestRunByCron: a job by cron waits for its time, while others run. That its time comes is tested with the schedule.
func TestRunByCron(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (destination, type, payload)
		select $1, type, '' from unnest(array['yearly', 'often', 'not chosen']) as type`, f.queue)
	running := f.start("run", "--config", write(t, "modulo.yaml", scheduleConfig), "--job", "yearly", "--job", "often")
	await(t, "the frequent job has run", func() bool { return one[int](f, pendingSQL) == 2 })
	if code := running.end(); code != 0 {
		t.Errorf("exit code %d\n%s", code, running.err.String())
	}
	if types := headers(f.taken(f.queue), "type"); !slices.Equal(types, []string{"often"}) {
		t.Errorf("sent: %v, want the one of the frequent job", types)
	}
}

// TestRunBeforeDatabase: the service waits for a database that is not up yet; commands that do one thing do not.
func TestRunBeforeDatabase(t *testing.T) {
	t.Parallel()
	pg := testservers.OwnPostgres(t)
	s := shell{t: t, env: map[string]string{"DATABASE_URL": pg.URL("postgres"), "MODULO_BROKER_URL": testservers.Broker(t).URL()}}
	s.ok("migrate", "up")
	if err := pg.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"once", "status", "migrate up", "migrate status", "rows list outbox", "init --from-table a"} {
		s.refuses(exitUnreachable, []string{"database"}, strings.Fields(command)...)
	}
	running := s.start("run")
	running.awaitLog("waiting for the database")
	if err := pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	running.awaitLog("service starts")
	if code := running.end(); code != 0 {
		t.Errorf("exit code %d\n%s", code, running.err.String())
	}
}

// TestBrokerUnreachable: without a broker nothing is changed, whatever the way in which it is not there.
func TestBrokerUnreachable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (destination, payload) select $1, n from generate_series(1, 10) as n", f.queue)
	closing := listen(t, func(conn net.Conn) { _ = conn.Close() })
	for _, url := range []string{"stomp://127.0.0.1:1", "stomp://127.0.0.1:1," + closing, closing} {
		f.refuses(exitUnreachable, []string{"connect to the broker"}, "once", "--broker-url", url)
	}
	if pending := one[int](f, pendingSQL); pending != 10 {
		t.Errorf("%d rows are pending, want all 10", pending)
	}
	if failures := one[int](f, "select count(*) from modulo.failures"); failures != 0 {
		t.Errorf("%d rows are blamed for the outage", failures)
	}
}

// listen serves connections until the test is over and returns the broker URL.
func listen(t *testing.T, serve func(net.Conn)) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return "stomp://" + listener.Addr().String()
}

// silentBroker takes connections, one after the other, and what is sent over them, and never gives a receipt. busy is closed when
// the first message has come.
func silentBroker(t *testing.T) (url string, busy chan struct{}) {
	t.Helper()
	busy = make(chan struct{})
	var first sync.Once
	return listen(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		frames := bufio.NewReader(conn)
		for _, answer := range []string{"CONNECTED\nversion:1.2\nserver:Silent/1\nheart-beat:0,0\n\n\x00", ""} {
			came, err := frames.ReadString(0)
			if err == nil {
				_, err = io.WriteString(conn, answer)
			}
			if err != nil {
				t.Logf("a connection to the silent broker has ended after %q: %v", came, err)
				return
			}
		}
		first.Do(func() { close(busy) })
		_, _ = io.Copy(io.Discard, frames) // until the other side is gone
	}), busy
}

// TestStopInTime: a batch that never gets its receipts holds up a stop only for so long, and is still pending.
func TestStopInTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (destination, payload) values ($1, 'x')", f.queue)
	url, busy := silentBroker(t)
	running := f.start("run", "--workers", "1", "--every", "10ms", "--shutdown-timeout", "12s", "--broker-url", url)
	<-busy
	asked := time.Now()
	if code := running.end(); code != 0 { // it is not 0 after a stop that took longer than it may
		t.Errorf("exit code %d\n%s", code, running.err.String())
	}
	if took := time.Since(asked); took < 6*time.Second || took > 20*time.Second { // the batch is given up after three quarters
		t.Errorf("the stop took %s, want somewhat less than 12 seconds", took)
	}
	if pending := one[int](f, pendingSQL); pending != 1 {
		t.Errorf("%d rows are pending, want 1", pending)
	}
}

// stuckLog takes no more lines from the one that tells of a stop, until it is freed.
type stuckLog struct {
	local.Output
	stuck, freed chan struct{}
}

func (l *stuckLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("stopping: no new batch")) {
		close(l.stuck)
		<-l.freed
	}
	return l.Output.Write(p)
}

// TestStopTooLate: a stop that takes longer than it may, as where nobody reads the log, is told by the exit code.
func TestStopTooLate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (destination, payload) values ($1, 'x')", f.queue)
	url, busy := silentBroker(t)
	ctx, stop := context.WithCancelCause(t.Context())
	log := &stuckLog{stuck: make(chan struct{}), freed: make(chan struct{})}
	const limit = 4 * time.Second // the batch is given up before, and that has to be logged
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"run", "--workers", "1", "--every", "10ms", "--http", "off", "--shutdown-timeout", limit.String(), "--broker-url", url},
			terminal{strings.NewReader(""), io.Discard, log, f.lookup})
	}()
	<-busy
	stop(signalled{syscall.SIGTERM})
	<-log.stuck
	asked := time.Now()
	await(t, "the time for a stop is over", func() bool { return time.Since(asked) > limit })
	close(log.freed)
	if code := <-ended; code != exitRuntime || !strings.Contains(log.String(), "longer than --shutdown-timeout 4s") {
		t.Errorf("exit code %d\n%s", code, log.String())
	}
}

// TestSignals: the first signal asks for a clean stop, the second one ends the process at once.
func TestSignals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("insert into modulo.outbox (destination, payload) values ($1, 'x')", f.queue)

	url, busy := silentBroker(t)
	once, told := f.process("once", "--workers", "1", "--shutdown-timeout", "500ms", "--broker-url", url)
	<-busy
	sendSignal(t, once.Process, syscall.SIGINT)
	if code := exitCode(t, once, told); code != 130 || !strings.Contains(told.String(), "ended by signal interrupt") {
		t.Errorf("once after SIGINT: exit code %d\n%s", code, told.String())
	}

	url, busy = silentBroker(t)
	run, told := f.process("run", "--workers", "1", "--shutdown-timeout", "1h", "--broker-url", url)
	<-busy
	sendSignal(t, run.Process, syscall.SIGTERM)
	asked := time.Now()
	await(t, "the stop has begun, and not just now", func() bool {
		return strings.Contains(told.String(), "stopping: no new batch") && time.Since(asked) > 2*sameSignal
	})
	sendSignal(t, run.Process, syscall.SIGTERM)
	if code := exitCode(t, run, told); code != 143 || !strings.Contains(told.String(), "second signal: stopping at once") {
		t.Errorf("run after the second SIGTERM: exit code %d\n%s", code, told.String())
	}

	run, told = f.process("run")
	f.drained()
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT} {
		sendSignal(t, run.Process, s) // two that come at the same time: one and the same wish
	}
	if code := exitCode(t, run, told); code != 0 || !strings.Contains(told.String(), `"message":"stopped"`) {
		t.Errorf("run after SIGTERM: exit code %d\n%s", code, told.String())
	}
	await(t, "no session left", func() bool { return one[int](f, sessionsSQL) == 0 })
	if arrived := len(f.taken(f.queue)); arrived != 1 {
		t.Errorf("%d messages, want 1", arrived)
	}
}

func sendSignal(t testing.TB, process *os.Process, s os.Signal) {
	t.Helper()
	if err := process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
