package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// nature is what the world thinks of a row.
type nature int

const (
	good       nature = iota
	invalid_          // cannot become a message
	refused           // the broker answers with an error
	deadly            // the broker drops the connection without a word
	healing           // refused until its third attempt
	unmarkable        // delivered, but the database refuses its mark
)

// fault is what strikes a place of the world where one can.
type fault int

const (
	none fault = iota
	fails
	panics
)

// stage is one of a pass: they run beside each other, so that each has faults of its own.
type stage int

const (
	fetching stage = iota
	publishing
	marking
)

// world is one worker's table, ledger and broker in memory, with faults and events where a test wants them. It behaves
// as the real parts do, and notes at once when the worker breaks a promise; check has those that show at the end only.
type world struct {
	ordered bool
	atomic  bool
	recalls bool   // the broker keeps a record
	crashes []bool // of the next passes that fail: the process ends with them
	limit   int
	slow    time.Duration     // how long a fetch takes: slow sweeps are rare
	front   *Front            // of all workers; nil: none
	faults  map[stage][]fault // of the next places where one can strike
	events  []event           // in order
	calls   int               // places passed so far
	// hook sees each call before it takes effect, and may block it or answer in its place. Nil: none.
	hook func(ctx context.Context, stage string, ids []int64) error

	lock      sync.Mutex // the stages of a pass use the world at the same time
	wrong     error      // the first broken promise
	table     map[int64]*simRow
	ledger    map[int64]*record
	connected bool
	recall    []int64 // rows that the broker names
	setBack   SetBack
	forgets   int            // calls of Forget
	others    bool           // the rows that it names had other events: the table was emptied since
	delivered []int64        // what the broker holds, in order
	confirmed map[int64]bool // rows of receipts that are not marked yet
	sendings  map[int64]int
	doubts    int           // messages whose outcome the worker was not told
	lostAlone map[int64]int // how often a connection was lost with this one message under way
	wasAside  map[int64]bool
	total     Outcome
	observer  *totals // of all workers
}

type simRow struct {
	id        int64
	key       string
	nature    nature
	late      bool // commits after others
	pending   bool
	withdrawn bool // by the application, not by a done mark
}

// record is a row of modulo.failures.
type record struct {
	Failure
	dueAt     time.Time // zero: waits for a person
	discarded bool
}

// event is what others do meanwhile: the application or a person.
type event struct {
	at   int // of world.calls
	kind string
	id   int64
}

func newEmptyWorld(limit int) *world {
	return &world{
		atomic: true, limit: limit, table: map[int64]*simRow{}, ledger: map[int64]*record{}, confirmed: map[int64]bool{},
		sendings: map[int64]int{}, lostAlone: map[int64]int{}, wasAside: map[int64]bool{},
	}
}

// worldOf is a world without faults, with the rows 1, 2, 3 and so on.
func worldOf(limit int, natures ...nature) *world {
	w := newEmptyWorld(limit)
	for i, n := range natures {
		w.insert(&simRow{id: int64(i + 1), nature: n, pending: true})
	}
	return w
}

func (w *world) insert(rows ...*simRow) {
	for _, r := range rows {
		w.table[r.id] = r
	}
}

// worker is the first worker in this world.
func (w *world) worker(t testing.TB, log zerolog.Logger) *Worker { return w.owner(t, log, false) }

// owner is a worker in this world, after others or not.
func (w *world) owner(t testing.TB, log zerolog.Logger, unsettled bool) *Worker {
	job := validJob()
	job.Batch, job.Ordered = w.limit, w.ordered
	if w.ordered {
		job.Source.ShardBy = "key"
	}
	job.Retry = RetryPolicy{MaxAttempts: 4, MinBackoff: time.Second, MaxBackoff: time.Minute}
	if w.observer == nil {
		w.observer = &totals{world: w}
	}
	worker, err := NewWorker(WorkerConfig{
		Job: job, Shard: Shard{Number: 0, Of: 1}, Rows: w, Failures: w, Publisher: w, Log: log, Grace: 10 * time.Second,
		Front: w.front, Unsettled: unsettled, Observer: w.observer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return worker
}

var errSim = errors.New("simulated fault")

// meet calls the hook.
func (w *world) meet(ctx context.Context, stage string, ids []int64) error {
	if w.hook == nil {
		return nil
	}
	return w.hook(ctx, stage, ids)
}

// strike lets happen what others do, and says whether a fault strikes here; which one is only for the reader.
func (w *world) strike(where stage, _ string) bool {
	w.calls++
	for len(w.events) > 0 && w.events[0].at <= w.calls {
		w.happen(w.events[0])
		w.events = w.events[1:]
	}
	if w.calls > 50_000 {
		w.broken("the worker spins")
		return true
	}
	struck := none
	if left := w.faults[where]; len(left) > 0 {
		struck, w.faults[where] = left[0], left[1:]
	}
	if struck == panics {
		panic(errSim)
	}
	return struck == fails
}

// happen is what the application or a person does.
func (w *world) happen(e event) {
	row, failed := w.table[e.id], w.ledger[e.id]
	switch {
	case e.kind == "commit":
		row.pending = true
	case e.kind == "withdraw" && row.pending:
		row.pending, row.withdrawn = false, true
	case e.kind == "discard" && failed != nil:
		failed.discarded, failed.dueAt = true, time.Now()
	case e.kind == "retry" && failed != nil && failed.dueAt.IsZero() && !failed.discarded:
		if row.nature == unmarkable {
			row.nature = good // what refused the mark is gone
		}
		failed.Attempts, failed.dueAt = 0, time.Now()
	}
}

// broken notes the first broken promise.
func (w *world) broken(format string, args ...any) {
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format+" (%s)", append(args, w)...)
	}
}

func (w *world) String() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(w.table)) {
		fmt.Fprintf(&b, "%d:%s:%d ", id, w.table[id].key, w.table[id].nature)
	}
	for _, id := range slices.Sorted(maps.Keys(w.ledger)) {
		fmt.Fprintf(&b, "failed %+v ", *w.ledger[id])
	}
	fmt.Fprintf(&b, "delivered %v", w.delivered)
	return b.String()
}

func (w *world) pendingIDs() []int64 {
	var ids []int64
	for _, id := range slices.Sorted(maps.Keys(w.table)) {
		if w.table[id].pending {
			ids = append(ids, id)
		}
	}
	return ids
}

func (w *world) row(id int64) Row {
	row := Row{ID: id, Key: w.table[id].key, Payload: []byte("text")}
	if w.table[id].nature == invalid_ {
		row.Payload = []byte("a\x00b")
	}
	return row
}

// held says whether an earlier row of the key has failed and was not delivered.
func (w *world) held(id int64) bool {
	key := w.table[id].key
	if !w.ordered || key == "" {
		return false
	}
	for other, f := range w.ledger {
		if f.Key == key && other < id && !f.Delivered {
			return true
		}
	}
	return false
}

func (w *world) Fetch(ctx context.Context, from int64) (Batch, error) {
	if err := w.meet(ctx, "fetch", []int64{from}); err != nil {
		return Batch{}, err
	}
	time.Sleep(w.slow)
	w.lock.Lock()
	defer w.lock.Unlock()
	if ctx.Err() != nil || w.strike(fetching, "fetch fails") {
		return Batch{}, errSim
	}
	var batch Batch
	for _, id := range w.pendingIDs() {
		if id < from || w.ledger[id] != nil || w.held(id) {
			continue
		}
		if batch.Rows = append(batch.Rows, w.row(id)); len(batch.Rows) == w.limit {
			batch.More = true
			break
		}
	}
	rows := batch.Rows
	batch.Free = func() { spoil(rows) }
	return batch, nil
}

// findFront is what a Front asks. It takes long enough to be remembered.
func (w *world) findFront(ctx context.Context) (int64, error) {
	time.Sleep(10 * nearFront)
	w.lock.Lock()
	defer w.lock.Unlock()
	if ctx.Err() != nil || w.strike(fetching, "looking for the front fails") {
		return 0, errSim
	}
	highest := int64(FirstID)
	for id, row := range w.table {
		if row.pending || row.withdrawn || w.sendings[id] > 0 {
			highest = max(highest, id)
		}
	}
	for _, id := range w.pendingIDs() {
		if w.ledger[id] == nil && !w.held(id) {
			return id, nil
		}
	}
	return highest, nil
}

// spoil makes rows that were given back useless: whoever still looks at them is found out.
func spoil(rows []Row) {
	for i := range rows {
		copy(rows[i].Payload, "\x00\x00\x00\x00")
		rows[i] = Row{ID: -1}
	}
}

func (w *world) Pending(ctx context.Context, ids []int64) (batch Batch, err error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if ctx.Err() != nil || w.strike(fetching, "pending fails") {
		return Batch{}, errSim
	}
	for _, id := range ids {
		if f := w.ledger[id]; w.table[id].pending && (f == nil || !f.Delivered) {
			batch.Rows = append(batch.Rows, w.row(id))
		}
	}
	return batch, nil
}

func (w *world) MarkDone(ctx context.Context, ids []int64) error {
	if err := w.meet(ctx, "mark", ids); err != nil {
		return err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.markDone(ctx, ids)
}

func (w *world) markDone(ctx context.Context, ids []int64) error {
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		w.broken("mark done: ids are not sorted and distinct: %v", ids)
	}
	if ctx.Err() != nil || w.strike(marking, "mark fails") {
		return errSim
	}
	for _, id := range ids {
		if w.table[id].nature == unmarkable {
			return &MarkRefused{errSim}
		}
	}
	for _, id := range ids {
		if discarded := w.ledger[id] != nil && w.ledger[id].discarded; !discarded && !slices.Contains(w.delivered, id) {
			w.broken("row %d is marked done, but the broker does not hold it", id)
		}
		w.table[id].pending = false
		delete(w.confirmed, id)
	}
	if w.strike(marking, "mark worked, its answer got lost") {
		return errSim
	}
	return nil
}

func (w *world) Due(ctx context.Context, from int64) (due Batch, cleared int, err error) {
	if err := w.meet(ctx, "due", nil); err != nil {
		return Batch{}, 0, err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if ctx.Err() != nil || w.strike(fetching, "due fails") {
		return Batch{}, 0, errSim
	}
	read := 0
	for _, id := range slices.Sorted(maps.Keys(w.ledger)) {
		f := w.ledger[id]
		markOnly := f.Delivered || f.discarded
		if id < from || f.dueAt.IsZero() || f.dueAt.After(time.Now()) || !markOnly && w.held(id) {
			continue
		}
		if read++; w.table[id].pending {
			row := w.row(id)
			row.Attempts, row.MarkOnly = f.Attempts, markOnly
			due.Rows = append(due.Rows, row)
		} else {
			delete(w.ledger, id)
			cleared++
		}
		if read == w.limit {
			due.More = true
			break
		}
	}
	return due, cleared, nil
}

func (w *world) Park(ctx context.Context, failures []Failure) error {
	if err := w.meet(ctx, "park", nil); err != nil {
		return err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if ctx.Err() != nil || w.strike(publishing, "park fails") {
		return errSim
	}
	for _, f := range failures {
		row, before := w.table[f.RowID], w.ledger[f.RowID]
		if row.nature == good && w.lostAlone[f.RowID] < enoughLost {
			w.broken("good row %d is parked: %s", f.RowID, f.Reason)
		}
		after := &record{Failure: f}
		after.Key = row.key
		if f.RetryAfter > 0 && !f.Delivered {
			after.dueAt = time.Now().Add(f.RetryAfter)
		}
		if before != nil {
			after.Attempts = max(before.Attempts, f.Attempts)
			after.discarded = before.discarded
			after.Delivered = before.Delivered || f.Delivered && !before.discarded
			if before.discarded && !f.Delivered {
				after.dueAt = time.Now()
			}
		}
		w.ledger[f.RowID] = after
		delete(w.confirmed, f.RowID)
	}
	return nil
}

func (w *world) Settle(ctx context.Context, ids []int64) error {
	if err := w.meet(ctx, "settle", ids); err != nil {
		return err
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if err := w.markDone(ctx, ids); err != nil {
		return err
	}
	for _, id := range ids {
		delete(w.ledger, id)
	}
	return nil
}
