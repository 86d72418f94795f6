package dashboard

import (
	"context"
	"sync"
	"time"
)

// Answers of the database are shared by everybody who asks within fresh, so that twenty open pages cost it as much as one.
// Streams look at the same moments, every refresh.
const (
	refresh     = 2 * time.Second
	fresh       = refresh - 100*time.Millisecond
	readTimeout = 5 * time.Second
	// rest is how much longer than it took to read it an answer is fresh at least: a slow one is asked for less often.
	rest = 20
	// maxKept is how many answers of a kind are kept, fresh ones too: whoever asks for ever other ones must not fill the memory.
	// Only those that are being read, each by somebody who waits, come on top.
	maxKept = 200
)

// snapshot is what was read, and when. With an error it is what was read last, if anything ever was.
type snapshot[V any] struct {
	Value V
	At    time.Time // zero: never
	Err   error
}

// shared keeps snapshots by what was asked for. Safe for concurrent use.
type shared[V any] struct {
	mu   sync.Mutex
	kept map[string]*reading[V]
}

// reading is a snapshot, or one that is being read until done is closed.
type reading[V any] struct {
	done  chan struct{}
	began time.Time
	last  snapshot[V]
	took  time.Duration // 0 after an error: it is soon tried again
}

// fresh says whether a reading will do, or the one that is under way.
func (r *reading[V]) fresh() bool {
	age := time.Since(r.began)
	if r.finished() {
		return age < max(fresh, rest*r.took)
	}
	return age < readTimeout
}

func (r *reading[V]) finished() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// get returns a fresh snapshot; who asks first reads it, the others wait for that.
func (s *shared[V]) get(ctx context.Context, key string, read func(context.Context) (V, error)) snapshot[V] {
	s.mu.Lock()
	before := s.kept[key]
	if before != nil && before.fresh() {
		s.mu.Unlock()
		select {
		case <-before.done:
			return before.last
		case <-ctx.Done():
			return snapshot[V]{Err: context.Cause(ctx)}
		}
	}
	r := &reading[V]{done: make(chan struct{}), began: time.Now()}
	if before != nil && before.finished() { // else its reader still has it
		r.last = before.last
	}
	s.keep(key, r)
	s.mu.Unlock()

	defer close(r.done)
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout) // others wait for it, too
	defer cancel()
	value, err := read(reading)
	if err == nil {
		r.last, r.took = snapshot[V]{Value: value, At: time.Now()}, time.Since(r.began)
	}
	r.last.Err = err
	return r.last
}

// keep is called with the lock held.
func (s *shared[V]) keep(key string, r *reading[V]) {
	if s.kept == nil {
		s.kept = map[string]*reading[V]{}
	}
	delete(s.kept, key)
	for len(s.kept) >= maxKept {
		oldest, found := s.oldest()
		if !found {
			break
		}
		delete(s.kept, oldest)
	}
	s.kept[key] = r
}

// oldest is the key of the reading that was begun first, of those that are finished.
func (s *shared[V]) oldest() (key string, found bool) {
	for other, r := range s.kept {
		if r.finished() && (!found || r.began.Before(s.kept[key].began)) {
			key, found = other, true
		}
	}
	return key, found
}

// forget makes every answer a new one: something was changed here, and who did it wants to see it.
func (s *shared[V]) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = nil
}
