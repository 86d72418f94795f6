package fleet

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/local"
	"modulo/internal/testservers"
)

// writer is an application that goes on after a fail-over: what it has committed may be lost.
type writer struct {
	cancel  context.CancelFunc
	working sync.WaitGroup
}

// write inserts rows at the rate of the load, on whichever server takes them, until stopped.
func write(t *testing.T, url, queue string) *writer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{cancel: cancel}
	w.working.Go(func() {
		ticker := time.NewTicker(time.Second / insertsPerSecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			conn, err := pgx.Connect(ctx, url+"&target_session_attrs=read-write&connect_timeout=1")
			for err == nil && ctx.Err() == nil {
				<-ticker.C
				const sql = "insert into modulo.outbox (destination, payload) select $1, 'load' from generate_series(1, $2)"
				_, err = conn.Exec(ctx, sql, queue, *rate/insertsPerSecond)
			}
			if conn != nil {
				_ = conn.Close(context.Background())
			}
			<-ticker.C // before the next try
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *writer) stop() {
	w.cancel()
	w.working.Wait()
}

// ownServers are a primary of the test's own, with a standby or without, and instances that know both.
type ownServers struct {
	*fleet
	primary, standby *local.Postgres
	writer           *writer
}

func newOwnServers(t *testing.T, lease time.Duration, withStandby bool) *ownServers {
	t.Helper()
	s := &ownServers{primary: testservers.OwnPostgres(t)}
	s.fleet = &fleet{t: t, url: s.primary.URL("postgres"), brokerURL: testservers.Broker(t).URL()}
	s.config = s.write(lease)
	s.command("migrate", "up")
	if withStandby {
		s.standby = testservers.Standby(t, s.primary)
		s.url = testservers.Either(t, "postgres", s.primary, s.standby)
	}
	s.db = connect(t, s.primary.URL("postgres"))
	queue := "/queue/fleet." + t.Name()
	s.stream = consume(t, s.brokerURL, queue)
	s.writer = write(t, s.url, queue)
	return s
}

// promote makes the standby the primary and measures from there.
func (s *ownServers) promote() (promoted time.Time) {
	s.t.Helper()
	if err := s.standby.Promote(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	promoted = time.Now()
	s.db = connect(s.t, s.standby.URL("postgres"))
	return promoted
}

// recovered says how long it took until something arrives again, and holds it against a limit.
func (s *ownServers) recovered(promoted time.Time, limit time.Duration) {
	s.t.Helper()
	s.await("something is marked done on the new primary", "select exists (select from modulo.outbox where done_at > $1)", promoted)
	first := time.Since(promoted)
	s.await("every worker has an owner on the new primary", `
		select count(*) = (select workers from modulo.jobs)
		from modulo.workers join modulo.instances on instance = owner
		where expires_at > clock_timestamp() and beat > 0 and not exists (select from modulo.jobs where hold_until > clock_timestamp())`)
	all := time.Since(promoted)
	s.t.Logf("after the promotion: first row done after %s, every worker and no hold after %s",
		first.Round(time.Millisecond), all.Round(time.Millisecond))
	if all > limit {
		s.t.Errorf("recovery took %s, more than %s", all, limit)
	}
}

// finish stops the writer and checks that every event that the server has arrived, and that no worker had two owners.
func (s *ownServers) finish(repeats int) {
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
	missing := s.stream.missing(kept) // those that only the old primary had arrived beside them
	for deadline := time.Now().Add(patience); missing > 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		missing = s.stream.missing(kept)
	}
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	repeated := s.stream.total - len(s.stream.seen)
	s.t.Logf("%d events on the server, %d of them did not arrive; %d that it has lost did; %d repeated (%d allowed)",
		len(kept), missing, len(s.stream.seen)-len(kept)+missing, repeated, repeats)
	if missing > 0 {
		s.t.Errorf("%d of %d events did not arrive", missing, len(kept))
	}
	if repeated > repeats {
		s.t.Errorf("%d repeats, at most %d are allowed", repeated, repeats)
	}
	for _, wrong := range s.stream.wrong {
		s.t.Errorf("two owners: %s", wrong)
	}
}

// missing counts the events that have not arrived.
func (s *stream) missing(events []string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := 0
	for _, event := range events {
		if s.seen[event] == 0 {
			missing++
		}
	}
	return missing
}

// ticks is what a fail-over may take beside the lease on a busy machine.
const ticks = 5*tick + slack

// The primary dies, and its standby has missed the last second: rows, marks, leases and epochs. Nothing is lost of what
// the new primary has, not even where it gives ids again, and no worker has two owners. The old one comes back read-only,
// and nobody goes there.
func TestFailOverToALaggingStandby(t *testing.T) {
	t.Parallel()
	s := newOwnServers(t, shortLease, true)
	s.start(s.url, "--workers", "4")
	s.awaitShared(4, 1)
	if err := s.standby.Stop(); err != nil {
		t.Fatal(err)
	}
	s.start(s.url, "--workers", "4") // which the standby never hears of
	s.awaitShared(4, 2)
	s.arrive(*rate)
	_, before := s.stream.arrived()
	s.primary.Kill()
	if err := s.standby.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	promoted := s.promote()
	s.recovered(promoted, shortLease+ticks)
	if err := s.primary.Demote(); err != nil {
		t.Fatal(err)
	}
	if err := s.primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitShared(4, 2)
	s.arrive(*rate)
	s.finish(before + 4*2*100) // every mark may be lost, and what was in flight
}

// With a synchronous standby no commit is lost: what was in flight may come again, and nothing else.
func TestFailOverToASynchronousStandby(t *testing.T) {
	t.Parallel()
	s := newOwnServers(t, shortLease, true)
	s.execute("alter system set synchronous_standby_names = 'standby'")
	s.execute("select pg_reload_conf()")
	s.await("commits wait for the standby", "select exists (select from pg_stat_replication where sync_state = 'sync')")
	for range 2 {
		s.start(s.url, "--workers", "4")
	}
	s.awaitShared(4, 2)
	s.arrive(*rate)
	s.primary.Kill()
	s.recovered(s.promote(), shortLease+ticks)
	s.arrive(*rate)
	s.finish(4 * 2 * 100)
}

func (s *ownServers) execute(sql string) {
	s.t.Helper()
	if _, err := s.db.Exec(s.t.Context(), sql); err != nil {
		s.t.Fatal(err)
	}
}
