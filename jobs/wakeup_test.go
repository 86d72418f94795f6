package jobs

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// intercom is a Wakeups in memory; the test speaks into it.
type intercom struct {
	mu        sync.Mutex
	announces []error // answers of Announce, one by one; then nil
	listens   int
	line      chan string // jobs that got rows; closed: the line is dead
}

var errDead = errors.New("line is dead")

func (i *intercom) Announce(context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.announces) == 0 {
		return nil
	}
	err := i.announces[0]
	i.announces = i.announces[1:]
	return err
}

func (i *intercom) Listen(ctx context.Context, listening func(), inserted func(string)) error {
	line := i.connect()
	if line == nil {
		return errDead
	}
	listening()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case job, ok := <-line:
			if !ok {
				return errDead
			}
			inserted(job)
		}
	}
}

func (i *intercom) connect() chan string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listens++
	return i.line
}

// replace puts in another line, nil for none, and kills the old one.
func (i *intercom) replace(line chan string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.line != nil {
		close(i.line)
	}
	i.line = line
}

func (i *intercom) tries() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.listens
}

// listenTest is serveTest with a job that listens.
func listenTest(t *testing.T, every time.Duration, i *intercom, log *bytes.Buffer) (c *counters, stop func()) {
	t.Helper()
	return serveTest(t, Schedule{Every: every}, &registry{state: owning(false)}, func(s *ServiceConfig) {
		s.Jobs[0].Listen, s.Wakeups, s.Log = true, i, zerolog.New(zerolog.SyncWriter(log))
	})
}

// Inserts begin passes at once, and so does each begin of listening: rows may have come before it.
func TestInsertBeginsAPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &intercom{line: make(chan string)}
		c, stop := listenTest(t, time.Hour, i, &bytes.Buffer{})
		defer stop()
		time.Sleep(time.Minute)
		for range 3 {
			before := c.passes()
			i.line <- validJob().Name
			time.Sleep(10 * time.Millisecond)
			if got := c.passes() - before; got != 1 {
				t.Errorf("%d passes after an insert", got)
			}
		}
		before := c.passes()
		i.replace(make(chan string))
		time.Sleep(2 * time.Second)
		if i.tries() != 2 || c.passes() != before+1 {
			t.Errorf("listened %d times, %d passes after the second time", i.tries(), c.passes()-before)
		}
	})
}

// Many inserts begin at most a thousand fetches per second, and the last one is not forgotten.
func TestManyInsertsAreHeardTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &intercom{line: make(chan string)}
		c, stop := listenTest(t, time.Hour, i, &bytes.Buffer{})
		defer stop()
		time.Sleep(time.Minute)
		before := c.passes()
		for range 10_000 {
			i.line <- validJob().Name
			time.Sleep(10 * time.Microsecond)
		}
		time.Sleep(10 * time.Millisecond)
		if got := c.passes() - before; got < 50 || got > 102 {
			t.Errorf("%d passes in a tenth of a second", got)
		}
		before = c.passes()
		for range 2 {
			i.line <- validJob().Name
			synctest.Wait()
			if got := c.passes() - before; got != 1 {
				t.Errorf("%d passes at once", got)
			}
		}
		time.Sleep(2 * time.Millisecond)
		if got := c.passes() - before; got != 2 {
			t.Errorf("%d passes after two inserts", got)
		}
	})
}

// While nothing can be heard the clock goes on; that is told once, and so is its end.
func TestClockGoesOnWithoutWakeups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &intercom{announces: []error{errDead, errDead}}
		var log bytes.Buffer
		c, stop := listenTest(t, time.Second, i, &log)
		time.Sleep(10 * time.Minute)
		if c.passes() < 599 {
			t.Errorf("%d passes in 10 minutes", c.passes())
		}
		if tries := i.tries(); tries < 10 || tries > 30 {
			t.Errorf("tried %d times in 10 minutes", tries)
		}
		i.replace(make(chan string))
		time.Sleep(2 * maxListenPause)
		stop()
		for _, line := range []string{
			`warn","error":"line is dead","message":"not listening for inserts: only the clock`, `info","message":"listening for inserts"`,
			`warn","error":"line is dead","message":"inserts are not announced: only the clock`, `info","message":"inserts are announced"`,
		} {
			if n := strings.Count(log.String(), `"level":"`+line); n != 1 {
				t.Errorf("told %d times: %s", n, line)
			}
		}
	})
}

// heard keeps what an instance tells of listening.
type heard struct {
	unobserved
	mu   sync.Mutex
	told []bool
}

func (h *heard) Listens(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, is)
}

func (h *heard) last() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told[len(h.told)-1]
}

// An instance listens once inserts are announced and the line stands, and no longer than that.
func TestListeningIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, ears := &intercom{announces: []error{errDead}, line: make(chan string)}, &heard{}
		_, stop := serveTest(t, Schedule{Every: time.Hour}, &registry{state: owning(false)}, func(s *ServiceConfig) {
			s.Jobs[0].Listen, s.Wakeups, s.Observer = true, i, ears
		})
		defer stop()
		synctest.Wait()
		if ears.last() {
			t.Error("listens, but nothing is announced")
		}
		time.Sleep(2 * minListenPause)
		if !ears.last() {
			t.Error("does not listen")
		}
		i.replace(nil)
		synctest.Wait()
		if ears.last() {
			t.Error("listens on a dead line")
		}
	})
}

// Where no job listens, nobody does.
func TestNobodyListensUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &intercom{line: make(chan string)}
		_, stop := serveTest(t, Schedule{Every: time.Second}, &registry{state: owning(false)}, func(s *ServiceConfig) { s.Wakeups = i })
		time.Sleep(time.Minute)
		stop()
		if i.tries() != 0 {
			t.Errorf("listened %d times", i.tries())
		}
	})
}

func TestListenGoesWithIntervalsOnly(t *testing.T) {
	t.Parallel()
	job := validJob()
	job.Listen, job.Schedule = true, Schedule{Cron: "0 0 1 1 *"}
	if err := job.Check(); err == nil || !strings.Contains(err.Error(), "listen: goes with every only") {
		t.Errorf("listen with cron: %v", err)
	}
	job.Schedule = Schedule{Every: time.Hour}
	if err := job.Check(); err != nil {
		t.Error(err)
	}
}
