package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// A short lease is for tests in which instances die. Where none does, no lease must be lost, however busy the machine.
const (
	shortLease = 4 * time.Second
	longLease  = time.Minute
	tick       = 200 * time.Millisecond
	batch      = 100

	// brokerHeartbeat is short because a paused instance keeps its tokens until the broker misses three of these.
	brokerHeartbeat = time.Second

	configuration = `
ownership: {lease: %s, heartbeat: %s, margin: %s, tick: %s}
database: {max_conns: 8, statement_timeout: 5s}
broker: {receipt_timeout: 5s, heartbeat: %s}
jobs:
  outbox: {every: 50ms, batch: %d, repeats: %s}
`
)

// explained is how many repeats so many batches of a worker explain, that a fault left open.
func explained(batches int) int { return programtest.Explained(batches * batch) }

// patience bounds every wait.
const patience = programtest.Patience

// fleet is a database with load, queues with a consumer, and the instances between them.
type fleet struct {
	t         *testing.T
	db        *pgxpool.Pool
	url       string // as the instances see it
	config    string // path
	brokerURL string
	servers   *servers // to be killed; nil: they are shared with other tests
	load      *load
	stream    *stream
}

// newFleet stands on the shared servers.
func newFleet(t *testing.T, lease, tick time.Duration) *fleet {
	t.Helper()
	database := testservers.Database(t)
	f := &fleet{t: t, url: testservers.Seen(t, database), brokerURL: testservers.Broker(t).URL()}
	f.prepare(database, lease, tick)
	return f
}

// prepare begins load and stream. The database has all migrations.
func (f *fleet) prepare(database string, lease, tick time.Duration) {
	t := f.t
	t.Helper()
	var err error
	if f.db, err = pgxpool.New(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.db.Close)
	f.config = filepath.Join(t.TempDir(), "modulo.yaml")
	settings := fmt.Sprintf(configuration, lease, lease/6, lease/4, tick, brokerHeartbeat, batch, programtest.Repeats())
	if err := os.WriteFile(f.config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	f.load = insert(t, database)
	f.stream = consume(t, f.brokerURL, f.load)
}

// run runs an instance that reaches the database by a URL, which may lead through a proxy.
func (f *fleet) run(databaseURL string, args ...string) *programtest.Process {
	f.t.Helper()
	p, err := f.launch("", databaseURL, f.brokerURL, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// launch is run from a network namespace. The instance is killed after the test if it still runs.
func (f *fleet) launch(namespace, databaseURL, brokerURL string, args ...string) (*programtest.Process, error) {
	args = append([]string{
		"run", "--config", f.config, "--database-url", databaseURL, "--broker-url", brokerURL, "--http", "off", "--log-format", "json",
	}, args...)
	p, err := programtest.StartIn(namespace, args...)
	if err != nil {
		return nil, err
	}
	p.EndWith(f.t)
	if f.servers == nil {
		f.t.Cleanup(func() {
			if p.Log.Has(setBackLine) {
				f.t.Errorf("instance %d accuses a broker that has lost nothing", p.PID())
			}
		})
	}
	return p, nil
}

// setBackLine is how an instance says that the broker has gone back to an earlier state.
const setBackLine = "the broker has lost messages that it had confirmed"

// await waits for a condition of the database; the query returns a boolean.
func (f *fleet) await(what, query string, args ...any) {
	f.t.Helper()
	programtest.Within(f.t, patience, what, func() (bool, error) { return f.ask(f.t.Context(), query, args...) })
}

// ask is whether a condition of the database holds. It does not while a server that may be killed does not answer.
func (f *fleet) ask(ctx context.Context, query string, args ...any) (is bool, err error) {
	err = f.db.QueryRow(ctx, query, args...).Scan(&is)
	if f.servers != nil && ctx.Err() == nil && outage(err) {
		return false, nil
	}
	return is, err
}

// outage says whether the database is away, rather than that it refused something.
func outage(err error) bool {
	refused, is := errors.AsType[*pgconn.PgError](err)
	return err != nil && !errors.Is(err, pgx.ErrNoRows) && (!is || strings.HasPrefix(refused.Code, "57")) // operator intervention: shutdown, start
}

// awaitShared waits until so many instances own all workers of a generation of k, evenly.
func (f *fleet) awaitShared(k, instances int) {
	f.t.Helper()
	f.await(fmt.Sprintf("%d workers shared by %d instances", k, instances), programtest.SharedSQL, k, instances)
}

// awaitRows waits until so many more messages have come.
func (f *fleet) awaitRows(more int) {
	f.t.Helper()
	before, _ := f.stream.arrived()
	programtest.Within(f.t, patience, fmt.Sprintf("%d more messages", more), func() (bool, error) {
		now, _ := f.stream.arrived()
		return now >= before+more, nil
	})
}

// command runs another command of the program and returns what it printed.
func (f *fleet) command(args ...string) string {
	f.t.Helper()
	return programtest.Do(f.t, append(args, "--config", f.config, "--database-url", f.url)...)
}

// finish ends the load, waits until everything is done, and holds the stream against the promises. repeats is how many
// the faults explain.
func (f *fleet) finish(repeats int) {
	f.t.Helper()
	v := f.judge()
	if v.repeats > repeats {
		f.t.Errorf("%d repeats, the faults explain %d", v.repeats, repeats)
	}
	f.t.Logf("%d rows at %.0f a second, %d received, %d repeats (%d explained)", v.rows, f.load.perSecond(), v.received, v.repeats, repeats)
}
