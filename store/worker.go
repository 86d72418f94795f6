package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"modulo/jobs"
)

const (
	byteaOID = pgtype.ByteaOID
	// maxReason bounds what modulo.failures keeps of an error, in bytes.
	maxReason = 2000
	// fetchHead and dueHead are how many columns of statements.fetch and due stand before those of a Row.
	fetchHead = 1
	dueHead   = 5
)

// WorkerRows is what one worker sees of its table and its failures: it implements jobs.Rows and jobs.Failures, and what they
// say of concurrent use holds for it.
type WorkerRows struct {
	source     *Source
	shard      jobs.Shard
	fetch      string
	batchBytes int

	fetchLimit, dueLimit rowLimit

	memory memoryPool

	timeline atomic.Int64 // of the server that its rows came from; 0: there was none yet, or the server does not tell
}

var (
	_ jobs.Rows     = (*WorkerRows)(nil)
	_ jobs.Failures = (*WorkerRows)(nil)
)

// Worker returns the rows and failures of one worker of the job.
func (s *Source) Worker(shard jobs.Shard) *WorkerRows {
	most := batchBytes(shard.Of, s.db.batchBytes)
	limit := newRowLimit(s.sql.batch, most)
	return &WorkerRows{source: s, shard: shard, fetch: s.sql.fetch(shard), batchBytes: most, fetchLimit: limit, dueLimit: limit}
}

// reader returns a rowReader; head is how many columns the caller reads.
func (w *WorkerRows) reader(head int, memory rowMemory) rowReader {
	return rowReader{head: head, fields: len(w.source.sql.fields), limit: w.batchBytes, rowMemory: memory}
}

// Fetch implements jobs.Rows.
func (w *WorkerRows) Fetch(ctx context.Context, from int64) (jobs.Batch, error) {
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	result, err := w.source.db.pool.Query(ctx, w.fetch, w.source.fetchFormats, from, w.fetchLimit.rows)
	if err != nil {
		return jobs.Batch{}, w.failed("fetch", err)
	}
	defer result.Close()
	reader := w.reader(fetchHead, w.memory.take())
	for !reader.full() && result.Next() {
		var err error
		if len(reader.rows) == 0 {
			err = w.pinText(result.RawValues()[0])
		}
		if err == nil {
			_, err = reader.read(result)
		}
		if err != nil {
			return jobs.Batch{}, w.failed("fetch", err)
		}
	}
	result.Close()
	if err := result.Err(); err != nil {
		return jobs.Batch{}, w.failed("fetch", err)
	}
	if len(reader.rows) == 0 {
		w.memory.clear() // a worker at rest keeps none
	}
	batch := reader.batch(w.source.binary, w.fetchLimit.reached(len(reader.rows), reader.full()))
	batch.Free = func() { w.memory.put(reader.rowMemory, w.batchBytes) }
	return batch, nil
}

// Pending implements jobs.Rows.
func (w *WorkerRows) Pending(ctx context.Context, ids []int64) (jobs.Batch, error) {
	if len(ids) == 0 {
		return jobs.Batch{}, nil
	}
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	result, err := w.source.db.pool.Query(ctx, w.source.pending, w.source.fetchFormats, ids, ids[0], ids[len(ids)-1])
	if err != nil {
		return jobs.Batch{}, w.failed("look for pending rows", err)
	}
	defer result.Close()
	reader := w.reader(fetchHead, rowMemory{})
	for result.Next() {
		err := w.pinText(result.RawValues()[0])
		if err == nil {
			_, err = reader.read(result)
		}
		if err != nil {
			return jobs.Batch{}, w.failed("look for pending rows", err)
		}
	}
	if err := result.Err(); err != nil {
		return jobs.Batch{}, w.failed("look for pending rows", err)
	}
	return reader.batch(w.source.binary, false), nil
}

// MarkDone implements jobs.Rows.
func (w *WorkerRows) MarkDone(ctx context.Context, ids []int64) error {
	return w.mark(ctx, w.source.mark, ids)
}

// Settle implements jobs.Failures.
func (w *WorkerRows) Settle(ctx context.Context, ids []int64) error {
	return w.mark(ctx, w.source.settle, ids)
}

func (w *WorkerRows) mark(ctx context.Context, statement string, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	marked, err := w.source.db.pool.Exec(ctx, statement, ids, ids[0], ids[len(ids)-1], w.timeline.Load())
	if err == nil && marked.RowsAffected() == 0 {
		err = w.source.checkTimeline(ctx, w.timeline.Load())
	}
	if err != nil {
		return w.failed("mark done", markError(err))
	}
	return nil
}

// Due implements jobs.Failures.
func (w *WorkerRows) Due(ctx context.Context, from int64) (jobs.Batch, int, error) {
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	batch, gone, err := w.readDue(ctx, from)
	if err != nil {
		return jobs.Batch{}, 0, w.failed("fetch due failures", err)
	}
	if len(gone) == 0 {
		return batch, 0, nil
	}
	cleared, err := w.source.db.pool.Exec(ctx, w.source.clear, gone)
	if err != nil {
		return jobs.Batch{}, 0, w.failed("clear failures", err)
	}
	return batch, int(cleared.RowsAffected()), nil
}

// readDue returns the due rows and the ids of those that are no longer pending.
func (w *WorkerRows) readDue(ctx context.Context, from int64) (batch jobs.Batch, gone []int64, err error) {
	result, err := w.source.db.pool.Query(ctx, w.source.due, w.source.dueFormats,
		int64(w.shard.Of), int64(w.shard.Number), w.dueLimit.rows, from)
	if err != nil {
		return jobs.Batch{}, nil, err
	}
	defer result.Close()
	reader := w.reader(dueHead, rowMemory{})
	var read, attempts int
	var id, timeline int64
	var markOnly bool
	var pending *bool
	head := make([]any, dueHead+4+reader.fields)
	head[0], head[1], head[2], head[3], head[4] = &timeline, &id, &attempts, &markOnly, &pending
	for ; !reader.full() && result.Next(); read++ {
		if err := result.Scan(head...); err != nil {
			return jobs.Batch{}, nil, err
		}
		if err := w.pin(timeline); err != nil {
			return jobs.Batch{}, nil, err
		}
		if pending == nil {
			gone = append(gone, id)
			continue
		}
		row, err := reader.read(result)
		if err != nil {
			return jobs.Batch{}, nil, err
		}
		row.Attempts, row.MarkOnly = attempts, markOnly
	}
	result.Close()
	if err := result.Err(); err != nil {
		return jobs.Batch{}, nil, err
	}
	return reader.batch(w.source.binary, w.dueLimit.reached(read, reader.full())), gone, nil
}

// Park implements jobs.Failures.
func (w *WorkerRows) Park(ctx context.Context, failures []jobs.Failure) error {
	if len(failures) == 0 {
		return nil
	}
	ctx, cancel := w.source.db.bounded(ctx)
	defer cancel()
	var owned bool
	err := w.source.db.pool.QueryRow(ctx, w.source.park, parkArguments(w.shard, w.timeline.Load(), failures)...).Scan(&owned)
	if err == nil && !owned {
		err = jobs.ErrFenced
	}
	if err != nil {
		return w.failed("park", err)
	}
	return nil
}

// parkArguments turns the failures into the arrays of statements.park: one per row id, the last one wins.
func parkArguments(shard jobs.Shard, timeline int64, failures []jobs.Failure) []any {
	failures = slices.Clone(failures)
	slices.SortStableFunc(failures, func(a, b jobs.Failure) int { return cmp.Compare(a.RowID, b.RowID) })
	var ids []int64
	var eventIDs, classes, reasons []string
	var attempts []int32
	var retryAfter []float64
	var delivered []bool
	for i, f := range failures {
		if i+1 < len(failures) && failures[i+1].RowID == f.RowID {
			continue
		}
		ids = append(ids, f.RowID)
		eventIDs = append(eventIDs, storable(f.EventID))
		attempts = append(attempts, int32(f.Attempts))
		retryAfter = append(retryAfter, f.RetryAfter.Seconds())
		classes = append(classes, string(f.Class))
		reasons = append(reasons, storable(f.Reason))
		delivered = append(delivered, f.Delivered)
	}
	return []any{ids, eventIDs, attempts, retryAfter, classes, reasons, delivered, shard.Number, shard.Epoch, timeline}
}

// storable makes text from a broker fit a text column: valid UTF-8, no NUL, not endless.
func storable(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// TakesText says that a text column takes a text as it is.
func TakesText(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

func (w *WorkerRows) failed(doing string, err error) error {
	w.source.db.leaveReadOnly(err)
	return fmt.Errorf("%s %s/worker %d: %w", doing, w.source.sql.job, w.shard.Number, err)
}
