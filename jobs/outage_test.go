package jobs

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// TestOutage: whoever is away, for however long, no row is parked, somebody looks again within 3 seconds, and the log
// tells when it began, now and then, and when it was over.
func TestOutage(t *testing.T) {
	t.Parallel()
	const outage = 10 * time.Minute
	for _, c := range []struct {
		stage string
		err   error
	}{
		{"connect", &ConnectError{Fault: FaultConnection, Err: errSim}},
		{"connect", &ConnectError{Fault: FaultConfiguration, Err: errSim}},
		{"publish", &PublishError{Fault: FaultConnection, Err: errSim}},
		{"publish", &PublishError{Fault: FaultBroker, Err: errSim}},
		{"publish", &PublishError{Fault: FaultConfiguration, Err: errSim}},
		{"publish", errSim},
		{"fetch", errSim},
		{"due", errSim},
		{"mark", errSim},
	} {
		t.Run(fmt.Sprintf("%s %v", c.stage, c.err), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := worldOf(3, goods(10)...)
				begun := time.Now()
				var lock sync.Mutex
				last, longest := begun, time.Duration(0)
				w.hook = func(_ context.Context, stage string, _ []int64) error {
					if stage != c.stage {
						return nil
					}
					lock.Lock()
					defer lock.Unlock()
					longest, last = max(longest, time.Since(last)), time.Now()
					if time.Since(begun) < outage {
						return c.err
					}
					return nil
				}
				var log bytes.Buffer
				worker := w.worker(t, zerolog.New(&log).Level(zerolog.InfoLevel))
				ctx, stop := context.WithCancel(context.Background())
				triggers := make(chan struct{}, 1)
				triggers <- struct{}{}
				var running sync.WaitGroup
				running.Go(func() { worker.Run(ctx, triggers) })
				time.Sleep(outage + maxPause)
				synctest.Wait()
				stop()
				running.Wait()
				want(t, "delivered", len(w.delivered), 10)
				want(t, "parked", len(w.ledger), 0)
				if longest > maxPause {
					t.Errorf("nobody looked for %s", longest)
				}
				begins, ends := strings.Count(log.String(), `"level":"error"`), strings.Count(log.String(), `"after_ms"`)
				if begins < 1 || begins > int(outage/troubleInterval)+1 || ends < 1 || ends > 2 {
					t.Errorf("%d lines of trouble, %d of its end:\n%s", begins, ends, &log)
				}
				w.kept(t)
			})
		})
	}
}

// TestStopIsNoTrouble: a stop before anything was sent is not worth a line.
func TestStopIsNoTrouble(t *testing.T) {
	t.Parallel()
	w := worldOf(2, goods(3)...)
	var log bytes.Buffer
	worker := w.worker(t, zerolog.New(&log))
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := worker.Pass(ctx); err == nil {
		t.Error("no error")
	}
	want(t, "log", log.String(), "")
}

// TestPassesAreTold: one line per pass that did something, none otherwise, and never a payload.
func TestPassesAreTold(t *testing.T) {
	t.Parallel()
	w := worldOf(2, good, invalid_, good)
	var log bytes.Buffer
	worker := w.worker(t, zerolog.New(&log))
	mustPass(t, worker)
	if n := strings.Count(log.String(), `"fetched":3,"sent":2,"done":2,"failed":1,"repeated":0`); n != 1 || strings.Contains(log.String(), `a\u0000b`) {
		t.Errorf("log %s", &log)
	}
	if !strings.Contains(log.String(), `"row_id":2,"event_id":"test","class":"invalid_message","reason":"payload: NUL in`) {
		t.Errorf("log %s", &log)
	}
	log.Reset()
	mustPass(t, worker)
	want(t, "log of an idle pass", log.String(), "")
}

// TestPassesShareALine: passes of one row each, as inserts begin them, are told together.
func TestPassesShareALine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &counters{sends: true}
		worker, err := NewWorker(WorkerConfig{
			Job: validJob(), Shard: Shard{Of: 1}, Rows: c, Failures: c, Publisher: c, Log: zerolog.New(&log), Grace: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			mustPass(t, worker)
			time.Sleep(10 * time.Millisecond)
		}
		worker.leave()
		if lines := strings.Count(log.String(), `"message":"pass"`); lines != 4 || !strings.Contains(log.String(), `"passes":100,"fetched":100,`) {
			t.Errorf("%d lines\n%s", lines, &log)
		}
	})
}
