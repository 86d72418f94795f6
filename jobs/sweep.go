package jobs

import (
	"slices"
	"time"
)

// A sweep repeats 50 times its own duration after it ended, so that it takes at most 2 % of a worker's time; a slow one
// after a minute all the same, so that no row that committed late waits for longer.
const (
	sweepRest    = 50
	sweepMinRest = 20 * time.Millisecond
	sweepMaxRest = time.Minute
)

// cursor says from which id the next fetch reads. Going forward it spares the walk over the dead index entries of rows
// that are done; from time to time it sweeps from the start, because lower ids can commit after higher ones. It is a
// hint only: whether a row is pending decides the table.
type cursor struct {
	next     int64
	sweeping bool
	until    int64         // where next stood before the sweep
	spent    time.Duration // fetch time of this sweep
	due      time.Time     // of the next sweep; zero: at once
	since    time.Time     // the sweep must find what could be fetched at this time; zero: it comes for its turn
}

func newCursor() cursor { return cursor{next: FirstID, until: FirstID, since: time.Now()} }

// sweep makes the next fetch a sweep that misses nothing that can be fetched now.
func (c *cursor) sweep() {
	c.next = max(c.next, c.until)
	c.sweeping, c.due, c.since = false, time.Time{}, time.Now()
}

// from returns where to fetch from, and whether a sweep begins with that: one is due, or nothing was ever found.
func (c *cursor) from(now time.Time) (id int64, begins bool) {
	if !c.sweeping && (!now.Before(c.due) || c.next == FirstID) {
		c.sweeping, c.until, c.next, c.spent = true, c.next, FirstID, 0
		return c.next, true
	}
	return c.next, false
}

// skip lets the sweep that has just begun start at the front, and returns where to fetch from.
func (c *cursor) skip(front int64) int64 {
	switch {
	case !c.sweeping: // another one was asked for
	case c.until == FirstID: // no row was read yet
		c.next = front
	default:
		c.next = min(front, c.until)
	}
	return c.next
}

// next is where to read on behind an id; the last bigint has no successor.
func next(id int64) int64 { return max(id, id+1) }

// advance moves the cursor behind a fetched batch.
func (c *cursor) advance(batch Batch, took time.Duration, now time.Time) {
	if n := len(batch.Rows); n > 0 {
		c.next = next(batch.Rows[n-1].ID)
	}
	if !c.sweeping {
		return
	}
	c.spent += took
	if !batch.More || c.next >= c.until {
		c.next = max(c.next, c.until)
		c.sweeping, c.since = false, time.Time{}
		c.due = now.Add(min(max(sweepRest*c.spent, sweepMinRest), sweepMaxRest))
	}
}

// inFlight holds the ids of batches between their fetch and their mark, a sorted slice each. A fetch must drop them:
// they are still pending in the table.
type inFlight struct{ batches [][]int64 }

func (f *inFlight) begin(ids []int64) { f.batches = append(f.batches, ids) }

func (f *inFlight) end(ids []int64) {
	f.batches = slices.DeleteFunc(f.batches, func(batch []int64) bool { return len(ids) > 0 && &batch[0] == &ids[0] })
}

// snapshot is taken before a fetch: a row that is marked while the fetch runs may still show up in it.
func (f *inFlight) snapshot() inFlight { return inFlight{slices.Clone(f.batches)} }

func (f *inFlight) holds(id int64) bool {
	return slices.ContainsFunc(f.batches, func(batch []int64) bool {
		_, found := slices.BinarySearch(batch, id)
		return found
	})
}

// drop removes the rows that are in flight from a batch.
func (f *inFlight) drop(batch *Batch) {
	if len(f.batches) > 0 {
		batch.Rows = slices.DeleteFunc(batch.Rows, func(row Row) bool { return f.holds(row.ID) })
	}
}
