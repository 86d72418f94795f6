package fleet

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/jackc/pgx/v5"
)

// load inserts rows at a steady rate until stopped.
type load struct {
	cancel   context.CancelFunc
	done     chan struct{}
	inserted int
	err      error
	t        *testing.T
}

// rate is the load of each test. The default suits a small machine that runs several tests at once.
var rate = flag.Int("rate", 500, "rows inserted per second in each test of a fleet")

const insertsPerSecond = 20

func insert(t *testing.T, databaseURL, queue string) *load {
	t.Helper()
	conn := connect(t, databaseURL)
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, done: make(chan struct{}), t: t}
	go func() { // stop, or the cleanup below, waits for it
		defer close(l.done)
		l.run(ctx, conn, queue)
	}()
	t.Cleanup(func() { cancel(); <-l.done })
	return l
}

func (l *load) run(ctx context.Context, conn *pgx.Conn, queue string) {
	ticker := time.NewTicker(time.Second / insertsPerSecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		const sql = "insert into modulo.outbox (destination, payload) select $1, 'load' from generate_series(1, $2)"
		if _, err := conn.Exec(context.WithoutCancel(ctx), sql, queue, *rate/insertsPerSecond); err != nil {
			l.err = err
			return
		}
		l.inserted += *rate / insertsPerSecond
	}
}

// stop returns how many rows were inserted.
func (l *load) stop() int {
	l.t.Helper()
	l.cancel()
	<-l.done
	if l.err != nil {
		l.t.Fatal(l.err)
	}
	return l.inserted
}

// frame is what a message says about its sender.
type frame struct {
	of    int // K
	epoch int64
	at    time.Time
}

// stream is what arrives, in order. It checks while it reads what must hold from frame to frame.
type stream struct {
	mu      sync.Mutex
	seen    map[string]int // event ids
	total   int
	last    map[string]frame // by worker, as in 3/8
	of      int              // of the frame before
	ended   map[int]bool     // values of K that were followed by another one
	wrong   []string
	readers sync.WaitGroup
}

func consume(t *testing.T, brokerURL, queue string) *stream {
	t.Helper()
	address, err := url.Parse(brokerURL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := stomp.Dial("tcp", address.Host, stomp.ConnOpt.HeartBeat(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := conn.Subscribe(queue, stomp.AckAuto)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{seen: map[string]int{}, last: map[string]frame{}, ended: map[int]bool{}}
	s.readers.Go(func() {
		for message := range subscription.C {
			if message.Err == nil {
				s.note(message)
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.MustDisconnect()
		s.readers.Wait()
	})
	return s
}

func (s *stream) note(message *stomp.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	worker := message.Header.Get("worker")
	epoch, err := strconv.ParseInt(message.Header.Get("epoch"), 10, 64)
	var number, of int
	if _, scanErr := fmt.Sscanf(worker, "%d/%d", &number, &of); err != nil || scanErr != nil {
		s.wrong = append(s.wrong, fmt.Sprintf("worker %q, epoch %q", worker, message.Header.Get("epoch")))
		return
	}
	s.seen[message.Header.Get("event_id")]++
	s.total++
	if before := s.last[worker]; epoch < before.epoch {
		s.wrong = append(s.wrong, fmt.Sprintf("worker %s: epoch %d after %d", worker, epoch, before.epoch))
	}
	s.last[worker] = frame{of, epoch, time.Now()}
	if s.of != of {
		if s.ended[of] {
			s.wrong = append(s.wrong, fmt.Sprintf("worker %s sends, but K = %d is over", worker, of))
		}
		s.ended[s.of], s.of = true, of
	}
}

// arrived is how many messages have arrived, and how many events.
func (s *stream) arrived() (messages, events int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, len(s.seen)
}

// await waits for the last event.
func (s *stream) await(t *testing.T, events int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, arrived := s.arrived(); arrived >= events {
			return
		}
		if time.Now().After(deadline) {
			return // check tells what is missing
		}
	}
}

// awaitSuccessors waits until so many workers have sent something under an epoch beyond the given one.
func (s *stream) awaitSuccessors(t *testing.T, epoch int64, workers int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		n := 0
		for _, last := range s.last {
			if last.epoch > epoch {
				n++
			}
		}
		s.mu.Unlock()
		if n >= workers {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d workers have sent under a new epoch", n, workers)
		}
	}
}

// check holds the stream against the promises.
func (s *stream) check(t *testing.T, events, repeats int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	repeated := s.total - len(s.seen)
	t.Logf("%d events inserted, %d arrived, %d repeated (%d allowed)", events, len(s.seen), repeated, repeats)
	if len(s.seen) != events {
		t.Errorf("%d of %d events arrived", len(s.seen), events)
	}
	if repeated > repeats {
		t.Errorf("%d repeats, at most %d are allowed", repeated, repeats)
	}
	for i, wrong := range s.wrong {
		if i == 10 {
			t.Errorf("and %d more", len(s.wrong)-i)
			break
		}
		t.Errorf("two owners: %s", wrong)
	}
}
