package chaos

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/internal/programtest"
)

// insertLate inserts ten rows, so that each worker has some. They are of lateType.
const insertLate = `
insert into modulo.outbox (destination, type, payload)
select '/queue/' || $1 || '.' || n % 3, 'Late', 'late ' || n from generate_series(1, 10) as n`

const countLate = `select count(*) from modulo.outbox where type = 'Late' and done_at is not null`

// soon is how long after its commit a late row may wait for its delivery. A sweep comes after 50 times the duration of the last,
// a minute at most; while its transaction is open, it has to walk over all that is done. The rest is for a busy machine.
var soon = programtest.ShortOrLong(90*time.Second, 65*time.Second)

// TestLateCommit: rows that commit long after 10,000 higher ids were delivered are delivered soon after, while the load
// goes on.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	stage := sharedStage(t)
	s := scenario{workers: 5, batch: 200}
	service := stage.start(t, s.args()...)

	late, err := pgx.Connect(t.Context(), stage.database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = late.Close(context.Background()) }) // all is committed by then, or the test has failed
	tx, err := late.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), insertLate, stage.prefix); err != nil {
		t.Fatal(err)
	}

	higher := &load{stage: stage, total: 10_000, pace: saturating}
	higher.begin(t)
	programtest.Within(t, programtest.Patience, "10,000 higher rows are done", func() (bool, error) { return higher.done() == higher.total, nil })
	l := &load{stage: stage, total: 1_000_000, pace: pace{every: 50 * time.Millisecond, rows: 10}}
	finish := l.begin(t)
	if err := programtest.Pause(t.Context(), programtest.ShortOrLong(3*time.Second, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := programtest.Within(t, soon, "late rows are done", func() (bool, error) { return stage.count(t, countLate) == 10, nil })
	t.Logf("10 rows that committed late, after %d higher ones, were done %s after their commit", l.done(), took.Round(time.Millisecond))

	finish()
	if err := service.stop(); err != nil {
		t.Error(err)
	}
	stage.judge(t, s.workers, 0).check(t)
}
