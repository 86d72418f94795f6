package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"
)

// nature is what the world thinks of a row.
type nature int

const (
	good     nature = iota
	invalid_        // cannot become a message
	refused         // the broker answers with an error
	deadly          // the broker drops the connection without a word
	healing         // refused until its third attempt
)

// world is one worker's table, ledger and broker in memory, with faults drawn by the property test. Every fault is one
// that the real parts can show; what it may never do is in check.
type world struct {
	ordered bool
	atomic  bool
	limit   int
	faults  []bool     // whether the next places where a fault can strike are struck
	lock    sync.Mutex // the stages of a pass use the world at the same time
	wrong   error      // the first broken promise

	table     map[int64]*simRow
	ledger    map[int64]*Failure
	dueAt     map[int64]time.Time
	connected bool
	delivered []int64 // what the broker holds, in order
	doubts    int     // messages whose outcome the worker was not told
	sendings  map[int64]int
}

type simRow struct {
	id      int64
	key     string
	nature  nature
	pending bool
}

// strike says whether a fault happens here, and which one is only for the reader.
func (w *world) strike(string) bool {
	if len(w.faults) == 0 {
		return false
	}
	struck := w.faults[0]
	w.faults = w.faults[1:]
	return struck
}

// broken notes the first broken promise.
func (w *world) broken(format string, args ...any) {
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format+" (%s)", append(args, w)...)
	}
}

var errSim = errors.New("simulated fault")

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
	r := w.table[id]
	payload := []byte("text")
	if r.nature == invalid_ {
		payload = []byte("a\x00b")
	}
	row := Row{ID: id, Key: r.key, Payload: payload}
	if f := w.ledger[id]; f != nil {
		row.Attempts = f.Attempts
	}
	return row
}

func (w *world) held(r *simRow) bool {
	if !w.ordered || r.key == "" {
		return false
	}
	for id, f := range w.ledger {
		if f.Key == r.key && id < r.id {
			return true
		}
	}
	return false
}

func (w *world) Fetch(_ context.Context, from int64) (Batch, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.strike("fetch fails") {
		return Batch{}, errSim
	}
	var batch Batch
	for _, id := range w.pendingIDs() {
		if id < from || w.ledger[id] != nil || w.held(w.table[id]) {
			continue
		}
		if len(batch.Rows) == w.limit {
			batch.More = true
			break
		}
		batch.Rows = append(batch.Rows, w.row(id))
	}
	return batch, nil
}

func (w *world) MarkDone(_ context.Context, ids []int64) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.markDone(ids)
}

func (w *world) markDone(ids []int64) error {
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		w.broken("mark done: ids are not sorted and distinct: %v", ids)
	}
	if w.strike("mark fails") {
		return errSim
	}
	for _, id := range ids {
		if !slices.Contains(w.delivered, id) {
			w.broken("row %d is marked done, but the broker does not hold it", id)
		}
		w.table[id].pending = false
	}
	if w.strike("mark worked, its answer got lost") {
		return errSim
	}
	return nil
}

func (w *world) Due(context.Context) (due Batch, cleared int, err error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.strike("due fails") {
		return Batch{}, 0, errSim
	}
	for _, id := range slices.Sorted(maps.Keys(w.dueAt)) {
		if !w.dueAt[id].After(time.Now()) {
			due.Rows = append(due.Rows, w.row(id))
		}
	}
	return due, 0, nil
}

func (w *world) Park(_ context.Context, failures []Failure) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.strike("park fails") {
		return errSim
	}
	for _, f := range failures {
		if w.table[f.RowID].nature == good {
			w.broken("good row %d is parked: %s", f.RowID, f.Reason)
		}
		w.ledger[f.RowID] = &f
		delete(w.dueAt, f.RowID)
		if f.RetryAfter > 0 {
			w.dueAt[f.RowID] = time.Now().Add(f.RetryAfter)
		}
	}
	return nil
}

func (w *world) Settle(_ context.Context, ids []int64) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if err := w.markDone(ids); err != nil {
		return err
	}
	for _, id := range ids {
		delete(w.ledger, id)
		delete(w.dueAt, id)
	}
	return nil
}

func (w *world) Connect(context.Context) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.connected {
		return nil
	}
	if w.strike("connect fails") {
		return &PublishError{Fault: FaultConnection, Err: errSim}
	}
	w.connected = true
	return nil
}

func (w *world) Atomic() bool { return w.atomic }
func (w *world) Close() error { w.connected = false; return nil }

func (w *world) takes(id int64) bool {
	n := w.table[id].nature
	return n == good || n == healing && w.sendings[id] > 2
}

func (w *world) Publish(_ context.Context, messages []Message) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if !w.connected {
		w.broken("publish without a connection")
	}
	for _, m := range messages {
		w.sendings[m.RowID]++
	}
	if w.atomic {
		return w.publishAtomic(messages)
	}
	return w.publishEach(messages)
}

func (w *world) publishAtomic(messages []Message) error {
	lost := &PublishError{Fault: FaultConnection, Err: errSim}
	deadlyOne := slices.ContainsFunc(messages, func(m Message) bool { return w.table[m.RowID].nature == deadly })
	if deadlyOne || w.strike("connection lost before the commit") {
		w.connected = false
		return lost
	}
	if slices.ContainsFunc(messages, func(m Message) bool { return !w.takes(m.RowID) }) {
		return &PublishError{Fault: FaultMessage, Err: errSim}
	}
	if w.strike("no room") {
		return &PublishError{Fault: FaultBroker, Err: errSim}
	}
	for _, m := range messages {
		w.delivered = append(w.delivered, m.RowID)
	}
	if w.strike("connection lost after the commit") {
		w.connected = false
		w.doubts += len(messages)
		return lost
	}
	return nil
}

func (w *world) publishEach(messages []Message) error {
	result := &PublishError{Fault: FaultMessage, Err: errSim}
	for i, m := range messages {
		if w.table[m.RowID].nature == deadly || w.strike("connection lost") {
			w.connected = false
			result.Fault = FaultConnection
			return result
		}
		if !w.takes(m.RowID) {
			result.Refused = append(result.Refused, Refusal{Index: i, Reason: "refused"})
			continue
		}
		w.delivered = append(w.delivered, m.RowID)
		if w.strike("receipt lost") {
			w.connected = false
			w.doubts++
			result.Fault = FaultConnection
			return result
		}
		result.Confirmed = append(result.Confirmed, i)
	}
	if len(result.Refused) == 0 {
		return nil
	}
	return result
}

func newWorld(t *rapid.T) *world {
	w := &world{
		ordered: rapid.Bool().Draw(t, "ordered"), atomic: rapid.Bool().Draw(t, "atomic"),
		limit: rapid.IntRange(1, 7).Draw(t, "batch"), faults: rapid.SliceOfN(rapid.Bool(), 0, 60).Draw(t, "faults"),
		table: map[int64]*simRow{}, ledger: map[int64]*Failure{}, dueAt: map[int64]time.Time{}, sendings: map[int64]int{},
	}
	natures := []nature{good, good, good, good, good, invalid_, refused, healing, deadly}
	for id := range int64(rapid.IntRange(0, 30).Draw(t, "rows")) {
		row := &simRow{id: id - 10, nature: rapid.SampledFrom(natures).Draw(t, "nature"), pending: true}
		if w.ordered {
			row.key = rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key")
		}
		w.table[row.id] = row
	}
	return w
}

func (w *world) worker() *Worker {
	job := validJob()
	job.Ordered = w.ordered
	if w.ordered {
		job.Source.ShardBy = "key"
	}
	job.Retry = RetryPolicy{MaxAttempts: 4, MinBackoff: time.Second, MaxBackoff: time.Minute}
	worker, err := NewWorker(WorkerConfig{
		Job: job, Shard: Shard{Number: 0, Of: 1}, Rows: w, Failures: w, Publisher: w, Log: zerolog.Nop(), Grace: time.Second,
	})
	if err != nil {
		panic(err)
	}
	return worker
}

// check holds the outcome against the promises: nothing lost, nothing repeated without need, the order kept, bad rows
// parked and nobody else. It returns the first promise that is broken.
func (w *world) check() {
	times := map[int64]int{}
	var first []int64
	for _, id := range w.delivered {
		if times[id]++; times[id] == 1 {
			first = append(first, id)
		}
	}
	if repeats := len(w.delivered) - len(first); repeats > w.doubts {
		w.broken("%d repeats, but only %d messages were in doubt", repeats, w.doubts)
	}
	heldKeys := map[string]int64{} // the first row of each key that is parked, or suspect with nothing left to prove it
	for _, id := range w.pendingIDs() {
		if _, ok := heldKeys[w.table[id].key]; !ok && (w.ledger[id] != nil || w.table[id].nature == deadly) {
			heldKeys[w.table[id].key] = id
		}
	}
	for id, r := range w.table {
		at, heldBack := heldKeys[r.key]
		heldBack = heldBack && w.ordered && r.key != "" && id > at
		switch {
		case r.pending && w.ledger[id] == nil && !heldBack && r.nature != deadly:
			w.broken("row %d (%v) is left over", id, r.nature)
		case (r.nature == good || r.nature == healing) && !heldBack && times[id] == 0:
			w.broken("row %d is lost", id)
		case r.nature == invalid_ && !heldBack && w.ledger[id] == nil:
			w.broken("bad row %d is not parked", id)
		}
	}
	w.checkOrder(first)
}

func (w *world) checkOrder(first []int64) {
	groups := map[string][]int64{}
	for _, id := range first {
		r := w.table[id]
		switch {
		case w.ordered && r.key != "":
			groups[r.key] = append(groups[r.key], id)
		case r.nature == good:
			groups[""] = append(groups[""], id)
		}
	}
	if w.ordered {
		delete(groups, "") // rows without a key stand behind others that were held back
	}
	for key, ids := range groups {
		if !slices.IsSortedFunc(ids, cmp.Compare[int64]) {
			w.broken("first deliveries of key %q are out of order: %v (%s)", key, ids, w)
		}
	}
}

func (w *world) String() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(w.table)) {
		fmt.Fprintf(&b, "%d:%s:%d ", id, w.table[id].key, w.table[id].nature)
	}
	return b.String()
}

// live passes until nothing is left to do, for a simulated day or so.
func (w *world) live() {
	worker := w.worker()
	idle := 0
	for range 2000 {
		outcome, err := worker.Pass(context.Background())
		switch {
		case w.wrong != nil:
			return
		case err != nil:
			idle = 0
			time.Sleep(time.Second)
		case outcome.again || outcome.Fetched > 0 || len(w.faults) > 0 || len(w.dueAt) > 0:
			idle = 0
			time.Sleep(time.Second)
		default:
			idle++
			time.Sleep(2 * sweepMaxRest)
		}
		if idle == 2 {
			break
		}
		w.faults = w.faults[min(1, len(w.faults)):]
	}
	w.check()
}
