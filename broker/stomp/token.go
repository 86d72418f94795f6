package stomp

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"modulo/jobs"
)

// token is the body of the one message in a worker's token queue: what the worker last committed, written in the same
// transaction. It is JSON so that a person can read it in the broker's console.
type token struct {
	Format int    `json:"modulo"`
	Job    string `json:"job"`
	Worker int    `json:"worker"`
	Of     int    `json:"of"`
	Epoch  int64  `json:"epoch"`
	Serial int64  `json:"serial"` // grows by one with each transaction
	// At is when it was sent, by the clock of who sent it; zero in tokens of earlier releases.
	At time.Time `json:"at"`
	// Timeline is that of the database that the rows came from: after a fail-over their ids may be those of other rows.
	Timeline int64  `json:"timeline"`
	Rows     string `json:"rows"`   // ids of delivered rows whose marks may be missing; see appendIDs
	Events   []byte `json:"events"` // the sum of the event id of each row, four bytes each
}

const tokenFormat = 1

// maxNamed bounds the rows that a token may name: two batches, and a good deal of slack.
const maxNamed = 8 * jobs.MaxBatch

// errForeignToken says that the message in a token queue is not a token of its worker.
var errForeignToken = errors.New("the message in the token queue is not this worker's token")

// readToken checks that a message is a token of the worker and returns it with the rows it names.
func readToken(body []byte, job string, worker int) (t token, named []jobs.Delivered, err error) {
	if err := json.Unmarshal(body, &t); err != nil {
		return token{}, nil, fmt.Errorf("%w: %w", errForeignToken, err)
	}
	if t.Format != tokenFormat || t.Job != job || t.Worker != worker {
		return token{}, nil, fmt.Errorf("%w: format %d, job %.40q, worker %d", errForeignToken, t.Format, t.Job, t.Worker)
	}
	ids, err := parseIDs(t.Rows)
	if err == nil && len(t.Events) != 4*len(ids) {
		err = fmt.Errorf("%d rows and %d bytes of events", len(ids), len(t.Events))
	}
	if err != nil {
		return token{}, nil, fmt.Errorf("%w: %w", errForeignToken, err)
	}
	for i, id := range ids {
		named = append(named, jobs.Delivered{RowID: id, Event: binary.BigEndian.Uint32(t.Events[4*i:])})
	}
	return t, named, nil
}

// appendIDs appends sorted, distinct ids: the first one, then what each adds to the one before, with d*n for n times d.
// The rows of a worker of five are mostly 5 apart, so that "7,5*999" names a batch of 1000.
func appendIDs(b []byte, ids []int64) []byte {
	before := int64(0)
	for i := 0; i < len(ids); {
		if i > 0 {
			b = append(b, ',')
		}
		step, n := ids[i]-before, 1
		for i+n < len(ids) && i > 0 && ids[i+n]-ids[i+n-1] == step {
			n++
		}
		b = strconv.AppendInt(b, step, 10)
		if n > 1 {
			b = append(b, '*')
			b = strconv.AppendInt(b, int64(n), 10)
		}
		i += n
		before = ids[i-1]
	}
	return b
}

// parseIDs reads what appendIDs wrote.
func parseIDs(text string) ([]int64, error) {
	if text == "" {
		return nil, nil
	}
	var ids []int64
	before := int64(0)
	for part := range strings.SplitSeq(text, ",") {
		stepText, countText, repeated := strings.Cut(part, "*")
		step, err := strconv.ParseInt(stepText, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("rows: %w", err)
		}
		count := uint64(1)
		if repeated {
			if count, err = strconv.ParseUint(countText, 10, 31); err != nil {
				return nil, fmt.Errorf("rows: %w", err)
			}
		}
		if uint64(len(ids))+count > maxNamed {
			return nil, fmt.Errorf("rows: more than %d", maxNamed)
		}
		for range count {
			before += step // wraps around as the difference did
			ids = append(ids, before)
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		return nil, errors.New("rows: not in order")
	}
	return ids, nil
}

// next returns the token that follows when these rows are committed.
func (t token) next(shard jobs.Shard, timeline int64, named []jobs.Delivered, now time.Time) token {
	t.Of, t.Epoch, t.Timeline, t.At = shard.Of, shard.Epoch, timeline, now.UTC().Truncate(time.Millisecond)
	if t.Serial++; t.Serial <= 0 { // 0 stands for none
		t.Serial = 1
	}
	ids := make([]int64, len(named))
	t.Events = make([]byte, 0, 4*len(named))
	for i, row := range named {
		ids[i] = row.RowID
		t.Events = binary.BigEndian.AppendUint32(t.Events, row.Event)
	}
	t.Rows = string(appendIDs(nil, ids))
	return t
}
