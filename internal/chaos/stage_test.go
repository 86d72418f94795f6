package chaos

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"

	"modulo/internal/faultproxy"
	"modulo/internal/local"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// queueCount is how many queues the rows of a load go to. It shares no divisor with the numbers of workers, so that
// every worker sends to every queue.
const queueCount = 3

// stage is where a test plays: a database with all migrations, queues of its own, and how the program reaches both.
type stage struct {
	database string // URL for load and oracle; never goes through a proxy
	broker   *local.ActiveMQ
	prefix   string // of the queues
	received []testservers.Delivered

	seenDatabase, seenBroker string // URLs the program is given
}

// sharedStage has a fresh database and queues on the shared servers, which must not be hurt: see proxies.
func sharedStage(t testing.TB) *stage {
	t.Helper()
	s := newStage(t, testservers.Database(t), testservers.Broker(t))
	s.seenDatabase = testservers.Seen(t, s.database)
	return s
}

// ownDatabase is a server of the test's own, to be killed, stopped and paused, with all migrations applied. It syncs to
// disk as in real life.
func ownDatabase(t testing.TB) (pg *local.Postgres, database string) {
	t.Helper()
	pg = testservers.OwnPostgres(t, local.PostgresConfig{})
	database = pg.URL("postgres")
	programtest.Do(t, "migrate", "up", "--database-url", database)
	return pg, database
}

func newStage(t testing.TB, database string, mq *local.ActiveMQ) *stage {
	prefix := regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), ".")
	return &stage{database: database, broker: mq, prefix: prefix, seenDatabase: database, seenBroker: mq.URL()}
}

// proxies puts a fault proxy before the database and one before the broker, as the program sees them.
func (s *stage) proxies(t testing.TB) (database, broker *faultproxy.Proxy) {
	t.Helper()
	database, s.seenDatabase = testservers.Through(t, s.seenDatabase)
	broker, s.seenBroker = testservers.Through(t, s.broker.URL())
	return database, broker
}

// start runs the service on this stage.
func (s *stage) start(t testing.TB, args ...string) *service {
	t.Helper()
	return startService(t, append([]string{"--database-url", s.seenDatabase, "--broker-url", s.seenBroker}, args...)...)
}

func (s *stage) queues() []string {
	var queues []string
	for n := range queueCount {
		queues = append(queues, fmt.Sprintf("%s.%d", s.prefix, n))
	}
	return queues
}

// query reads one row of one or more values from the database.
func (s *stage) query(ctx context.Context, sql string, args []any, values ...any) (err error) {
	conn, err := pgx.Connect(ctx, s.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return conn.QueryRow(ctx, sql, args...).Scan(values...)
}

// count is query for a number, in a test.
func (s *stage) count(t testing.TB, sql string) (n int) {
	t.Helper()
	if err := s.query(t.Context(), sql, nil, &n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

const (
	countPending  = `select count(*) from modulo.outbox where done_at is null`
	countDone     = `select count(*) from modulo.outbox where done_at is not null`
	countFailures = `select count(*) from modulo.failures`
	// countSessions counts those of the program; load and oracle have no application_name.
	countSessions = `select count(*) from pg_stat_activity where datname = current_database() and application_name like 'modulo%'`
)
