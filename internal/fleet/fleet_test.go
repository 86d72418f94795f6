package fleet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/testservers"
)

// A short lease is for tests in which instances die. Where none does, no lease must be lost, however busy the machine.
const (
	shortLease = 4 * time.Second
	longLease  = time.Minute
	tick       = 200 * time.Millisecond

	// brokerHeartbeat is short because the token of a paused instance is with the broker until that misses the
	// heart-beats: a take-over after SIGSTOP takes the lease, and then three of these.
	brokerHeartbeat = time.Second

	configuration = `
broker: {heartbeat: %s}
ownership: {lease: %s, heartbeat: 500ms, margin: %s, tick: %s}
database: {max_conns: 8}
jobs:
  outbox: {every: 50ms, batch: 100}
`
)

// patience bounds every wait.
const patience = 60 * time.Second

// fleet is a database with load, a queue with a consumer, and the instances between them.
type fleet struct {
	t         *testing.T
	db        *pgx.Conn // of the test's own goroutine
	url       string
	config    string // path
	brokerURL string
	stream    *stream
	load      *load
}

func newFleet(t *testing.T, lease time.Duration) *fleet {
	t.Helper()
	f := &fleet{t: t, url: testservers.Database(t), brokerURL: testservers.Broker(t).URL()}
	f.db = connect(t, f.url)
	f.config = filepath.Join(t.TempDir(), "modulo.yaml")
	settings := fmt.Sprintf(configuration, brokerHeartbeat, lease, lease/4, tick)
	if err := os.WriteFile(f.config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	queue := "/queue/fleet." + t.Name()
	f.stream = consume(t, f.brokerURL, queue)
	f.load = insert(t, f.url, queue)
	return f
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// instance is one modulo run.
type instance struct {
	f      *fleet
	cmd    *exec.Cmd
	exited chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// Write keeps the log for the case that the test fails.
func (i *instance) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.log.Write(p)
}

// start runs an instance on a database URL, which may lead through a proxy.
func (f *fleet) start(url string, args ...string) *instance {
	f.t.Helper()
	args = append([]string{"run", "--config", f.config, "--database-url", url, "--broker-url", f.brokerURL, "--log-format", "json"}, args...)
	i := &instance{f: f, cmd: exec.Command(program, args...), exited: make(chan struct{})}
	i.cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no settings of the developer's
	i.cmd.Stderr = i
	if err := i.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() { // ends with the process, which the cleanup waits for
		defer close(i.exited)
		_ = i.cmd.Wait() // how it ended is in ProcessState
	}()
	f.t.Cleanup(func() {
		i.kill()
		if f.t.Failed() {
			f.t.Logf("log of instance %d, without passes:\n%s", i.cmd.Process.Pid, i.story())
		}
	})
	return i
}

// story is the log without the lines of single passes.
func (i *instance) story() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var story []string
	for line := range strings.Lines(i.log.String()) {
		if !strings.Contains(line, `"message":"pass"`) {
			story = append(story, line)
		}
	}
	return strings.Join(story, "")
}

func (i *instance) signal(s syscall.Signal) { _ = i.cmd.Process.Signal(s) } // it may have ended

// kill is kill -9, and waits for the end.
func (i *instance) kill() {
	i.signal(syscall.SIGKILL)
	<-i.exited
}

// stop asks for a clean end and waits for it.
func (i *instance) stop() {
	i.f.t.Helper()
	i.signal(syscall.SIGTERM)
	select {
	case <-i.exited:
		if code := i.cmd.ProcessState.ExitCode(); code != 0 {
			i.f.t.Errorf("clean stop: exit code %d", code)
		}
	case <-time.After(patience):
		i.f.t.Fatal("clean stop: still running")
	}
}

// pid is how the database names the instance.
func (i *instance) pid() int { return i.cmd.Process.Pid }

// await waits for a condition of the database; the query returns a boolean.
func (f *fleet) await(what, query string, args ...any) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var is bool
		if err := f.db.QueryRow(f.t.Context(), query, args...).Scan(&is); err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		if is {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("waiting for: %s", what)
		}
	}
}

// awaitShared waits until so many instances own all workers of a generation of k, evenly.
func (f *fleet) awaitShared(k, instances int) {
	f.t.Helper()
	f.await(fmt.Sprintf("%d workers shared by %d instances", k, instances), `
		select count(*) = $2 and sum(n) = $1 and max(n) - min(n) <= 1 from (
		  select w.owner, count(*) as n
		  from modulo.workers as w join modulo.jobs as j using (job, generation) join modulo.instances as i on i.instance = w.owner
		  where j.workers = $1 and j.next_workers is null and i.expires_at > clock_timestamp() and i.max_workers is distinct from 0
		  group by w.owner) as s`, k, instances)
}

// command runs another command of the program.
func (f *fleet) command(args ...string) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), program, append(args, "--config", f.config, "--database-url", f.url)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("modulo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// finish ends the load, waits until everything is done, and holds the stream against the promises. Whatever happened to
// the instances, the tokens allow no repeat: there is one only where a broker keeps none.
func (f *fleet) finish(repeats int) {
	f.t.Helper()
	inserted := f.load.stop()
	f.await("all rows done", "select not exists (select from modulo.outbox where done_at is null)")
	f.stream.await(f.t, inserted)
	f.stream.check(f.t, inserted, repeats)
}
