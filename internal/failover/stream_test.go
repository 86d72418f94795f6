package failover

import (
	"context"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/jackc/pgx/v5"
)

// The load of each test: rows per second, in so many transactions.
const (
	rate             = 500
	insertsPerSecond = 20
)

// writer is an application that goes on after a fail-over: what it has committed may be lost.
type writer struct {
	cancel  context.CancelFunc
	working sync.WaitGroup
}

// write inserts rows on whichever server takes them, until stopped.
func write(t *testing.T, databaseURL, queue string) *writer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{cancel: cancel}
	w.working.Go(func() {
		ticker := time.NewTicker(time.Second / insertsPerSecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			conn, err := pgx.Connect(ctx, databaseURL+"&target_session_attrs=read-write&connect_timeout=5")
			for err == nil && ctx.Err() == nil {
				<-ticker.C
				const sql = "insert into modulo.outbox (destination, payload) select $1, 'load' from generate_series(1, $2)"
				_, err = conn.Exec(ctx, sql, queue, rate/insertsPerSecond)
			}
			if conn != nil {
				_ = conn.Close(context.Background()) // it is given up either way
			}
			<-ticker.C // before the next try
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *writer) stop() {
	w.cancel()
	w.working.Wait()
}

// stream is what arrives, in order.
type stream struct {
	readers sync.WaitGroup

	mu     sync.Mutex
	total  int
	seen   map[string]bool  // event ids
	epochs map[string]int64 // the highest of each worker
	stale  []string         // frames of an older epoch
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
	s := &stream{seen: map[string]bool{}, epochs: map[string]int64{}}
	s.readers.Go(func() {
		for frame := range subscription.C {
			if frame.Err == nil {
				s.note(frame.Header.Get("worker"), frame.Header.Get("epoch"), frame.Header.Get("event_id"))
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.MustDisconnect()
		s.readers.Wait()
	})
	return s
}

func (s *stream) note(worker, epochText, event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	s.seen[event] = true
	epoch, err := strconv.ParseInt(epochText, 10, 64)
	if err != nil || epoch < s.epochs[worker] {
		s.stale = append(s.stale, "worker "+worker+": epoch "+epochText+" after "+strconv.FormatInt(s.epochs[worker], 10))
		return
	}
	s.epochs[worker] = epoch
}

// arrived is how many messages have arrived.
func (s *stream) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// repeated is how many of them were repeats.
func (s *stream) repeated() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total - len(s.seen)
}

// missing counts the events that have not arrived.
func (s *stream) missing(events []string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := 0
	for _, event := range events {
		if !s.seen[event] {
			missing++
		}
	}
	return missing
}

// check holds the stream against the promises. kept is how many events the server has, all of which arrived.
func (s *stream) check(t *testing.T, kept, repeats int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	repeated := s.total - len(s.seen)
	t.Logf("%d events on the server, all arrived; %d that it has lost did, too; %d repeated (%d allowed)", kept, len(s.seen)-kept, repeated, repeats)
	if repeated > repeats {
		t.Errorf("%d repeats, at most %d are allowed", repeated, repeats)
	}
	for _, stale := range s.stale[:min(10, len(s.stale))] {
		t.Errorf("two owners: %s", stale)
	}
}
