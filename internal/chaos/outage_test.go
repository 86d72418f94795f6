package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// outage is a server that is away for a while.
type outage struct {
	name       string
	lasts      time.Duration
	begin, end func(context.Context) error
}

// How soon after the return of a server deliveries go on, and those of all workers, at the latest. It is some seconds: the
// pauses between attempts grow to no more, and the rest is for a machine that has a lot to do.
var (
	backWithin    = programtest.ShortOrLong(20*time.Second, 5*time.Second)
	allBackWithin = programtest.ShortOrLong(40*time.Second, 15*time.Second)
)

// TestBrokerOutages: what was under way has no receipt and is sent again; nothing else happens to any row.
func TestBrokerOutages(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t)
	stage := newStage(t, testservers.Database(t), mq)
	playOutages(t, stage, 1, stage.checkUntouched,
		outage{"stopped", programtest.ShortOrLong(8*time.Second, time.Minute), plain(mq.Stop), mq.Start},
		outage{"paused", programtest.ShortOrLong(4*time.Second, time.Minute), plain(mq.Pause), plain(mq.Resume)},
	)
}

// TestDatabaseOutages: what has its receipt waits for its mark; nothing is repeated.
func TestDatabaseOutages(t *testing.T) {
	t.Parallel()
	pg, database := ownDatabase(t)
	stage := newStage(t, database, testservers.Broker(t))
	playOutages(t, stage, 0, func(*testing.T, time.Duration) {},
		outage{"stopped", programtest.ShortOrLong(8*time.Second, time.Minute), plain(pg.Stop), pg.Start},
		outage{"paused", programtest.ShortOrLong(4*time.Second, time.Minute), plain(pg.Pause), plain(pg.Resume)},
	)
}

func plain(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

// patience is how soon the program notices that a server is silent: within an outage, also a short one.
var patience = programtest.ShortOrLong(2*time.Second, 10*time.Second)

// playOutages takes a server away under load, again and again. The service stays up through all of it, and each outage
// may repeat so many batches per worker.
func playOutages(t *testing.T, stage *stage, repeats int, watch func(*testing.T, time.Duration), outages ...outage) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "modulo.yaml")
	settings := fmt.Sprintf("broker: {receipt_timeout: %s}\ndatabase: {statement_timeout: %s}\n", patience, patience)
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s := scenario{workers: 5, batch: 50}
	service := stage.start(t, append(s.args(), "--config", config, "--every", "50ms", "--log-level", "debug")...)
	l := &load{stage: stage, total: 1_000_000, pace: pace{every: 50 * time.Millisecond, rows: 10}}
	finish := l.begin(t)
	for _, o := range outages {
		before := l.done()
		programtest.Within(t, programtest.Patience, "the backlog of the last outage is done", func() (bool, error) {
			_, pending := l.progress()
			return l.done() > before+100 && pending < 100, nil
		})
		o.play(t, stage, s.workers, watch)
		if err := service.checkAlive(); err != nil {
			t.Fatal(err)
		}
	}
	finish()
	if err := service.stop(); err != nil {
		t.Error(err)
	}
	v := stage.judge(t, s.workers, programtest.Explained(len(outages)*repeats*s.workers*s.batch))
	t.Logf("%d rows, %d received, %d repeats, bound %d", v.rows, v.received, v.repeats, v.bound)
	v.check(t)
}

func (o outage) play(t *testing.T, stage *stage, workers int, watch func(*testing.T, time.Duration)) {
	t.Helper()
	began := time.Now()
	if err := o.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	watch(t, o.lasts)
	if err := programtest.Pause(t.Context(), o.lasts-time.Since(began)); err != nil {
		t.Fatal(err)
	}
	if err := o.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	awaitReturn := func(n int, limit time.Duration) time.Duration {
		programtest.Within(t, limit, fmt.Sprintf("%s: deliveries of %d workers", o.name, n), func() (bool, error) {
			var delivering int
			err := stage.query(t.Context(), countBack, []any{workers, began, back}, &delivering)
			return delivering >= n, err
		})
		return time.Since(back).Round(10 * time.Millisecond)
	}
	first := awaitReturn(1, backWithin)
	if n := stage.count(t, countFailures); n > 0 {
		t.Errorf("%s: %d failure records", o.name, n)
	}
	all := awaitReturn(workers, allBackWithin)
	t.Logf("%s for %s: deliveries went on %s after the return, those of all workers after %s",
		o.name, back.Sub(began).Round(time.Millisecond), first, all)
}

// countBack counts the workers, of $1, that have delivered rows which were inserted during or after the outage from $2
// to $3.
const countBack = `select count(distinct id % $1) from modulo.outbox where created_at > $2 and done_at > $3`

// version is a row as the table has it: every update makes another one.
type version struct {
	done bool
	hash int64
}

// readVersions reads the rows up to the id $1.
const readVersions = `
select id, done_at is not null, hashtextextended(concat_ws(' ', t.ctid, t.xmin, t.*), 0)
from modulo.outbox as t where id <= $1`

// checkUntouched compares the rows at the two ends of an outage of the broker. What had its receipt before may get its mark
// meanwhile, as late as a busy machine likes; marks without a receipt are found by the judge.
func (s *stage) checkUntouched(t *testing.T, lasts time.Duration) {
	t.Helper()
	ended := time.Now().Add(lasts)
	last := s.count(t, `select max(id) from modulo.outbox`)
	before := s.versions(t, last)
	if err := programtest.Pause(t.Context(), time.Until(ended)); err != nil {
		t.Fatal(err)
	}
	after := s.versions(t, last)
	for id, was := range before {
		if is, there := after[id]; !there || is != was && (was.done || !is.done) {
			t.Errorf("row %d changed: done %t before, %t after, there %t", id, was.done, is.done, there)
		}
	}
	if s.count(t, `select max(id) from modulo.outbox`) <= last {
		t.Error("no row was inserted meanwhile: the outage met no load")
	}
}

func (s *stage) versions(t *testing.T, last int) map[int64]version {
	t.Helper()
	conn := testservers.Connect(t, s.database)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // everything is read
	rows, err := conn.Query(t.Context(), readVersions, last)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[int64]version{}
	var id int64
	var v version
	if _, err := pgx.ForEachRow(rows, []any{&id, &v.done, &v.hash}, func() error { versions[id] = v; return nil }); err != nil {
		t.Fatal(err)
	}
	return versions
}
