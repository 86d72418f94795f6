package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"modulo/internal/programtest"
)

const (
	members      = 3
	stormWorkers = 8
	// atOnce is how many members are struck at the same time at most: one is left that can take over.
	atOnce = members - 1
	// calm is the longest time from one strike to the next.
	calm = time.Second
	// stormLease is short, so that many leases run out in a storm.
	stormLease = 3 * time.Second
	stormTick  = 500 * time.Millisecond
)

// kind is a way to strike a member of the fleet, and to mend it.
type kind struct {
	name    string
	repeats bool // what was in flight may come again
	loses   bool // the member's workers get another owner, if it lasts for a lease
	ends    bool // the process
	least   time.Duration
	most    time.Duration
	strike  func(*member) error
	mend    func(*member) error
}

// kinds is all of them, as they are printed.
var kinds = []*kind{
	{"kill -9, started anew", true, true, true, 0, stormLease, (*member).kill, (*member).start},
	{"SIGTERM, started anew", false, true, true, 0, time.Second, (*member).stop, (*member).start},
	{"SIGSTOP beyond the lease, SIGCONT", true, true, false, stormLease, 2 * stormLease, (*member).freeze, (*member).thaw},
	{"database cut off, silently", true, true, false, stormLease / 3, 2 * stormLease,
		func(m *member) error { return m.database.breakSilently() }, func(m *member) error { return m.database.mend() }},
	{"database cut off, link down", true, true, false, stormLease / 3, 2 * stormLease,
		func(m *member) error { return m.database.pull() }, func(m *member) error { return m.database.mend() }},
	{"broker cut off, silently", true, false, false, stormLease / 3, 2 * stormLease,
		func(m *member) error { return m.broker.breakSilently() }, func(m *member) error { return m.broker.mend() }},
	{"broker cut off, link down", true, false, false, stormLease / 3, 2 * stormLease,
		func(m *member) error { return m.broker.pull() }, func(m *member) error { return m.broker.mend() }},
}

// member is a place in the fleet: an instance, started anew after each end, with its lines to the servers.
type member struct {
	f                *fleet
	number           int
	cabled           bool
	database, broker *line

	striking sync.Mutex // one thing at a time
	process  *programtest.Process
}

func (f *fleet) enlist(number int, cabled bool) *member {
	f.t.Helper()
	return &member{
		f: f, number: number, cabled: cabled,
		database: layLine(f.t, cabled, number, 0, "database", f.url),
		broker:   layLine(f.t, cabled, number, 1, "broker", f.brokerURL),
	}
}

func (m *member) start() (err error) {
	namespace := ""
	if m.cabled {
		namespace = namespaceOf(m.number)
	}
	m.process, err = m.f.launch(namespace, m.database.url, m.broker.url, "--workers", fmt.Sprint(stormWorkers))
	return err
}

func (m *member) kill() error   { return m.process.Kill() }
func (m *member) stop() error   { return m.process.Stop(patience) }
func (m *member) freeze() error { return m.process.Signal(syscall.SIGSTOP) }
func (m *member) thaw() error   { return m.process.Signal(syscall.SIGCONT) }

// worksSQL says whether a process owns workers and has renewed its lease since a moment. $3 is the lease.
const worksSQL = `select exists (
  select from modulo.workers join modulo.instances on instance = owner
  where pid = $1 and expires_at > clock_timestamp() and expires_at > $2::timestamptz + make_interval(secs => $3::float8))`

// awaitWork waits until the member owns workers and is heard of.
func (m *member) awaitWork(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("member %d owns no workers after %s", m.number, patience))
	defer cancel()
	since := time.Now()
	return programtest.Await(ctx, 50*time.Millisecond, func() (works bool, err error) {
		if !m.process.Running() {
			return false, fmt.Errorf("member %d ended by itself: %s\n%s", m.number, m.process.State(), m.process.Log.Tail())
		}
		return works, m.f.db.QueryRow(ctx, worksSQL, m.process.PID(), since, stormLease.Seconds()).Scan(&works)
	})
}

// strike is one fault: what was drawn, and what became of it.
type strike struct {
	*kind
	member int
	calm   time.Duration // since the strike before
	lasts  time.Duration

	pid    int // that was struck
	began  time.Time
	mended time.Time     // about to be
	back   time.Duration // from there until the member owned workers again
}

func (s *strike) String() string {
	return fmt.Sprintf("%s - %s: %s of process %d, back %s later", s.began.Format(clock), s.mended.Format(clock), s.name, s.pid,
		s.back.Round(time.Millisecond))
}

// clock shows times as far as they differ in a storm.
const clock = "15:04:05.000"

// drawStrikes draws deck after deck: each kind once, in random order. Neighbours strike different members.
func drawStrikes(rng *rand.Rand, decks int) []*strike {
	var strikes []*strike
	victim := rng.IntN(members)
	for range decks {
		for _, i := range rng.Perm(len(kinds)) {
			k := kinds[i]
			victim = (victim + 1 + rng.IntN(members-1)) % members
			strikes = append(strikes, &strike{
				kind: k, member: victim, calm: programtest.UpTo(rng, calm), lasts: k.least + programtest.UpTo(rng, k.most-k.least),
			})
		}
	}
	return strikes
}

// TestStorm lets faults of all kinds strike three instances at random, under a steady load.
func TestStorm(t *testing.T) {
	t.Parallel()
	cabled := buildNamespaces(t, members)
	f := newFleet(t, stormLease, stormTick)
	f.keepLedger()
	var fleet []*member
	for n := range members {
		m := f.enlist(n, cabled)
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		fleet = append(fleet, m)
	}
	f.awaitShared(stormWorkers, members)
	began := time.Now()
	struck, err := blow(t.Context(), fleet, drawStrikes(programtest.Rand(t), 1+int(*lasts/(5*time.Second))))
	if err != nil {
		t.Errorf("storm: %v", err)
	}
	blew := time.Since(began)
	f.awaitRows(*rate)
	v := f.judge()
	for _, m := range fleet {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}
	o := explain(f.stream, struck, f.ledger(t))
	o.print(t, f, v, struck, blew, cabled)
	for _, wrong := range o.wrong {
		t.Error(wrong)
	}
	if t.Failed() {
		for _, s := range struck {
			t.Log(s)
		}
	}
}

// blow lets the strikes happen, until the time is up and each kind has struck. It returns those that did.
func blow(ctx context.Context, fleet []*member, strikes []*strike) (struck []*strike, err error) {
	began := time.Now()
	turns := make(chan struct{}, atOnce)
	problems := make([]error, len(strikes))
	var striking sync.WaitGroup
	for i, s := range strikes {
		if i >= len(kinds) && time.Since(began) > *lasts {
			break
		}
		if err = programtest.Pause(ctx, s.calm); err != nil {
			break
		}
		turns <- struct{}{}
		struck = append(struck, s)
		striking.Go(func() {
			defer func() { <-turns }()
			problems[i] = s.hit(ctx, fleet[s.member])
		})
	}
	striking.Wait()
	return struck, errors.Join(append(problems, err)...)
}

// hit strikes the member once it works, and returns when it works again.
func (s *strike) hit(ctx context.Context, m *member) error {
	m.striking.Lock()
	defer m.striking.Unlock()
	if err := m.awaitWork(ctx); err != nil {
		return fmt.Errorf("before %s: %w", s.name, err)
	}
	s.pid, s.began = m.process.PID(), time.Now()
	if err := s.strike(m); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if err := programtest.Pause(ctx, s.lasts); err != nil {
		return err
	}
	s.mended = time.Now()
	if err := s.kind.mend(m); err != nil {
		return fmt.Errorf("after %s: %w", s.name, err)
	}
	if err := m.awaitWork(ctx); err != nil {
		return fmt.Errorf("after %s: %w", s.name, err)
	}
	s.back = time.Since(s.mended)
	return nil
}
