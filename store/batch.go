package store

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

const (
	minChunk = 4 << 10
	maxChunk = 256 << 10
	// jobBytes is what the workers of a job may hold of rows in memory, two batches each: one on its way to the broker, and
	// the next one. The more workers there are, the smaller their batches.
	jobBytes = 32 << 20
	// mostBatchBytes is where a batch stops although there are more rows: bytes of payload, key and fields, and rowOverhead.
	// A batch has at least one row.
	mostBatchBytes = 4 << 20
	// minBatchBytes is where a batch does not get smaller.
	minBatchBytes = 64 << 10
	// rowOverhead is what a row takes in memory besides its values, as a row and as a message.
	rowOverhead = 512
)

// batchBytes is where a batch of one of so many workers ends although there are more rows.
func batchBytes(workers, most int) int { return min(most, max(minBatchBytes, jobBytes/(2*workers))) }

// rowLimit is the most rows to ask for: the batch, or less where rows are so wide that a batch ends by bytes. What is
// asked for beyond that crosses the network for nothing.
type rowLimit struct{ rows, batch int64 }

// newRowLimit begins with what fits if rows have 16 kB.
func newRowLimit(batch, batchBytes int) rowLimit {
	return rowLimit{rows: int64(max(1, min(batch, batchBytes>>14))), batch: int64(batch)}
}

// reached says whether a result of so many rows ended at a limit, full being that of the bytes. It sets the next one:
// a little above what fitted, or back towards the batch. What was asked for in vain costs K row scans a row.
func (l *rowLimit) reached(rows int, full bool) bool {
	asked := l.rows
	switch {
	case full:
		l.rows = min(int64(rows+rows/16+1), l.batch)
	case int64(rows) == asked:
		l.rows = min(2*asked, l.batch)
	}
	return full || int64(rows) == asked
}

// rowReader copies rows of a result into a batch with a handful of allocations per batch, not per row: values into
// shared chunks of memory, keys into one string.
type rowReader struct {
	head   int // columns before id, key, payload, fields and age, which the caller reads
	fields int
	limit  int // of size, where the batch ends

	rowMemory
	size    int       // bytes of keys, payloads and fields so far, and what goes with them
	now     time.Time // when the first row was read
	keyEnds []int
}

// rowMemory is what the rows of a batch are kept in. It serves one batch after the other.
type rowMemory struct {
	rows  []jobs.Row
	chunk []byte
	slots [][]byte
	keys  []byte
	need  int // bytes of values in the last batch
}

// memoryPool holds memory that no batch uses. Safe for concurrent use.
type memoryPool struct {
	mu   sync.Mutex
	free []rowMemory
}

// pooledBatches is how many batches a worker has at a time: one on its way to the broker, and the next one.
const pooledBatches = 2

// take returns memory that served before, if there is some.
func (p *memoryPool) take() rowMemory {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return rowMemory{}
	}
	m := p.free[n-1]
	p.free[n-1], p.free = rowMemory{}, p.free[:n-1]
	return m
}

// put keeps memory for a batch like the last one, unless that was far beyond the limit.
func (p *memoryPool) put(m rowMemory, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.need > 2*limit || len(p.free) == pooledBatches {
		return
	}
	if cap(m.chunk) < m.need {
		m.chunk = make([]byte, 0, m.need+m.need/8)
	}
	p.free = append(p.free, rowMemory{rows: m.rows[:0], chunk: m.chunk[:0], slots: m.slots[:0], keys: m.keys[:0]})
}

func (p *memoryPool) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = nil
}

// full says that the batch ends here.
func (r *rowReader) full() bool { return r.size >= r.limit }

// read appends the current row of the result.
func (r *rowReader) read(result pgx.Rows) (*jobs.Row, error) {
	values, columns := result.RawValues()[r.head:], result.FieldDescriptions()[r.head:]
	if len(r.rows) == 0 {
		r.now = time.Now()
	}
	id, err := decodeID(values[0], columns[0].Format)
	if err != nil {
		return nil, err
	}
	payload, err := r.copyPayload(values[2], columns[2].DataTypeOID == byteaOID && columns[2].Format == pgx.TextFormatCode)
	if err != nil {
		return nil, fmt.Errorf("payload of row %d: %w", id, err)
	}
	last := 3 + r.fields
	insertedAt, err := decodeAge(values[last], columns[last].Format, r.now)
	if err != nil {
		return nil, fmt.Errorf("age of row %d: %w", id, err)
	}
	r.keys = append(r.keys, values[1]...)
	r.keyEnds = append(r.keyEnds, len(r.keys))
	r.size += len(values[1]) + rowOverhead
	r.rows = append(r.rows, jobs.Row{ID: id, Payload: payload, Fields: r.copyFields(values[3:last]), InsertedAt: insertedAt})
	return &r.rows[len(r.rows)-1], nil
}

// batch hands over what was read. The reader must not be used again.
func (r *rowReader) batch(binary, more bool) jobs.Batch {
	if len(r.keys) > 0 {
		keys, start := string(r.keys), 0
		for i, end := range r.keyEnds {
			r.rows[i].Key = keys[start:end]
			start = end
		}
	}
	return jobs.Batch{Rows: r.rows, Binary: binary, More: more}
}

func (r *rowReader) copyFields(values [][]byte) [][]byte {
	if r.fields == 0 {
		return nil
	}
	if cap(r.slots)-len(r.slots) < r.fields {
		r.slots = make([][]byte, 0, max(16, min(4*len(r.rows), 1024))*r.fields)
	}
	start := len(r.slots)
	for _, v := range values {
		r.slots = append(r.slots, r.copy(v))
	}
	return r.slots[start:len(r.slots):len(r.slots)]
}

// copy keeps null apart from empty.
func (r *rowReader) copy(value []byte) []byte {
	if value == nil {
		return nil
	}
	return append(r.room(len(value)), value...)
}

// copyPayload undoes the text form of bytea ("\x" and hexadecimal digits), which simple_protocol gives.
func (r *rowReader) copyPayload(value []byte, isHex bool) ([]byte, error) {
	if value == nil || !isHex {
		return r.copy(value), nil
	}
	if len(value) < 2 || value[0] != '\\' || value[1] != 'x' {
		return nil, fmt.Errorf("bytea is not in hexadecimal form (bytea_output)")
	}
	return hex.AppendDecode(r.room(hex.DecodedLen(len(value)-2)), value[2:])
}

// room returns an empty slice for n bytes at the end of the current chunk, which is never moved.
func (r *rowReader) room(n int) []byte {
	r.size += n
	r.need += n
	if r.chunk == nil || cap(r.chunk)-len(r.chunk) < n { // nil would make an empty value null
		r.chunk = make([]byte, 0, max(n, minChunk, min(2*cap(r.chunk), maxChunk)))
	}
	start := len(r.chunk)
	r.chunk = r.chunk[:start+n]
	return r.chunk[start : start : start+n]
}

func decodeID(value []byte, format int16) (int64, error) {
	if format == pgx.BinaryFormatCode && len(value) == 8 {
		return int64(binary.BigEndian.Uint64(value)), nil
	}
	return strconv.ParseInt(string(value), 10, 64)
}

// maxAge is beyond what a created_at can mean.
const maxAge = 200 * 365 * 24 * time.Hour

// decodeAge turns seconds since the insert into a time of our own clock; null, infinity and the like into zero.
func decodeAge(value []byte, format int16, now time.Time) (insertedAt time.Time, err error) {
	if value == nil {
		return time.Time{}, nil
	}
	var seconds float64
	if format == pgx.BinaryFormatCode && len(value) == 8 {
		seconds = math.Float64frombits(binary.BigEndian.Uint64(value))
	} else if seconds, err = strconv.ParseFloat(string(value), 64); err != nil {
		return time.Time{}, err
	}
	if !(math.Abs(seconds) < maxAge.Seconds()) { // NaN neither
		return time.Time{}, nil
	}
	return now.Add(-time.Duration(seconds * float64(time.Second))), nil
}
