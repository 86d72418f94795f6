package failover

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/local"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// A short lease is for tests in which leases end. Elsewhere none must be lost, however busy the machine.
const (
	shortLease = 4 * time.Second
	longLease  = time.Minute
	tick       = 200 * time.Millisecond
	batch      = 100

	configuration = `
ownership: {lease: %s, heartbeat: %s, margin: %s, tick: %s}
database: {max_conns: 8}
jobs:
  outbox: {every: 50ms, batch: %d}
`
)

// patience bounds every wait.
const patience = programtest.Patience

// stage is a database of the test's own with a writer, a queue with a consumer, and the instances between them.
type stage struct {
	t                *testing.T
	primary, standby *local.Postgres // standby is nil where there is none
	db               *pgx.Conn       // to the server that takes writes
	url              string          // as the instances see it
	config           string          // path
	stream           *stream
	writer           *writer
}

func newStage(t *testing.T, lease time.Duration, withStandby bool) *stage {
	t.Helper()
	s := &stage{t: t, primary: testservers.OwnPostgres(t), config: filepath.Join(t.TempDir(), "modulo.yaml")}
	s.url = s.primary.URL("postgres")
	settings := fmt.Sprintf(configuration, lease, min(lease/6, time.Second), lease/4, tick, batch)
	if err := os.WriteFile(s.config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s.command("migrate", "up")
	s.db = testservers.Connect(t, s.primary.URL("postgres"))
	if withStandby {
		s.standby = testservers.Standby(t, s.primary)
		s.url = testservers.Either(t, "postgres", s.primary, s.standby)
	}
	queue := "/queue/failover." + t.Name()
	s.stream = consume(t, testservers.Broker(t).URL(), queue)
	s.writer = write(t, s.url, queue)
	return s
}

func (s *stage) execute(sql string) {
	s.t.Helper()
	if _, err := s.db.Exec(s.t.Context(), sql); err != nil {
		s.t.Fatal(err)
	}
}

// start runs an instance.
func (s *stage) start(args ...string) *programtest.Process {
	s.t.Helper()
	p, err := programtest.Start(append([]string{
		"run", "--config", s.config, "--database-url", s.url, "--broker-url", testservers.Broker(s.t).URL(),
		"--http", "off", "--log-format", "json",
	}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	p.EndWith(s.t)
	return p
}

// command runs another command of the program.
func (s *stage) command(args ...string) {
	s.t.Helper()
	programtest.Do(s.t, append(args, "--config", s.config, "--database-url", s.url)...)
}

// await waits for a condition of the database; the query returns a boolean.
func (s *stage) await(what, query string, args ...any) {
	s.t.Helper()
	programtest.Within(s.t, patience, what, func() (is bool, err error) {
		err = s.db.QueryRow(s.t.Context(), query, args...).Scan(&is)
		return is, err
	})
}

// awaitShared waits until so many instances own all workers of a generation of k, evenly.
func (s *stage) awaitShared(k, instances int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d workers shared by %d instances", k, instances), programtest.SharedSQL, k, instances)
}

// arrive waits until so many more messages have come.
func (s *stage) arrive(more int) {
	s.t.Helper()
	before := s.stream.arrived()
	programtest.Within(s.t, patience, fmt.Sprintf("%d more messages", more), func() (bool, error) {
		return s.stream.arrived() >= before+more, nil
	})
}

// finish stops the writer and checks that every event that the server has arrived, and that no worker had two owners.
func (s *stage) finish(repeats int) {
	s.t.Helper()
	s.writer.stop()
	s.await("all rows done", "select not exists (select from modulo.outbox where done_at is null)")
	rows, err := s.db.Query(s.t.Context(), "select event_id::text from modulo.outbox")
	if err != nil {
		s.t.Fatal(err)
	}
	kept, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	programtest.Within(s.t, patience, "every event that the server has arrives", func() (bool, error) {
		return s.stream.missing(kept) == 0, nil
	})
	s.stream.check(s.t, len(kept), repeats)
}
