package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"modulo/internal/programtest"
)

// longest is how long a member is paused or cut off at most: some get over it with their lease, some do not.
var longest = stormLease + stormLease/2

// kind is a way to strike a member of the fleet, and to mend it.
type kind struct {
	name         string
	share        int  // of a storm of servers
	repeats      bool // what was in flight may come again
	loses        bool // the member's workers get another owner, if it lasts for a lease
	ends         bool // the process
	everybody    bool // notices it; the next one waits for its turn
	turn         sync.Mutex
	least, most  time.Duration
	strike, mend func(*member) error
}

// kinds is all of them, as they are printed.
var kinds = []*kind{
	{
		name: "kill -9, started anew", repeats: true, loses: true, ends: true, most: stormLease,
		strike: (*member).kill, mend: (*member).start,
	},
	{
		name: "SIGTERM, started anew", loses: true, ends: true, most: time.Second,
		strike: (*member).stop, mend: (*member).start,
	},
	{
		name: "SIGSTOP beyond the lease, SIGCONT", repeats: true, loses: true, least: stormLease, most: longest,
		strike: (*member).freeze, mend: (*member).thaw,
	},
	{
		name: "database cut off, silently", repeats: true, loses: true, least: stormLease / 3, most: longest,
		strike: func(m *member) error { return m.database.breakSilently() },
		mend:   func(m *member) error { return m.database.mend() },
	},
	{
		name: "database cut off, link down", repeats: true, loses: true, least: stormLease / 3, most: longest,
		strike: func(m *member) error { return m.database.pull() },
		mend:   func(m *member) error { return m.database.mend() },
	},
	{
		name: "broker cut off, silently", repeats: true, least: stormLease / 3, most: longest,
		strike: func(m *member) error { return m.broker.breakSilently() },
		mend:   func(m *member) error { return m.broker.mend() },
	},
	{
		name: "broker cut off, link down", repeats: true, least: stormLease / 3, most: longest,
		strike: func(m *member) error { return m.broker.pull() },
		mend:   func(m *member) error { return m.broker.mend() },
	},
}

// member is a place in the fleet: an instance, started anew after each end, with its lines to the servers.
type member struct {
	f                *fleet
	number           int
	cabled           bool
	database, broker *line

	striking sync.Mutex // one thing at a time
	rng      *rand.Rand // for what a strike draws
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

// stopLimit is the --shutdown-timeout of members: a stop gives up a call to the database after a sixteenth, and waits for the
// end of the lease. That is as long as an instance trusts its lease, for a machine that stops for some seconds now and then.
const stopLimit = time.Minute

func (m *member) start() (err error) {
	namespace := ""
	if m.cabled {
		namespace = namespaceOf(m.number)
	}
	m.process, err = m.f.launch(namespace, m.database.url, m.broker.url, "--workers", fmt.Sprint(stormWorkers),
		"--shutdown-timeout", stopLimit.String())
	return err
}

func (m *member) kill() error   { return m.process.Kill() }
func (m *member) stop() error   { return m.process.Stop(patience) }
func (m *member) freeze() error { return m.process.Signal(syscall.SIGSTOP) }
func (m *member) thaw() error   { return m.process.Signal(syscall.SIGCONT) }

// worksSQL says whether a process owns workers, if there are enough for all, and has renewed its lease since a moment. $3 is
// the lease, $4 the number of members.
const worksSQL = `select exists (
  select from modulo.instances
  where pid = $1 and expires_at > clock_timestamp() and expires_at > $2::timestamptz + make_interval(secs => $3::float8)
    and (exists (select from modulo.workers where owner = instance) or (select workers < $4 from modulo.jobs)))`

// exitUnreachable is how the program ends when it cannot reach the database at its start.
const exitUnreachable = 5

// awaitWork waits until the member owns workers and is heard of. As a supervisor would, it starts anew one that found no
// database.
func (m *member) awaitWork(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("member %d owns no workers after %s", m.number, patience))
	defer cancel()
	since := time.Now()
	return programtest.Await(ctx, 50*time.Millisecond, func() (bool, error) {
		switch {
		case m.process.Running():
			return m.f.ask(ctx, worksSQL, m.process.PID(), since, stormLease.Seconds(), members)
		case m.f.servers != nil && m.process.ExitCode() == exitUnreachable:
			return false, m.start()
		default:
			return false, fmt.Errorf("member %d ended by itself: %s\n%s", m.number, m.process.State(), m.process.Log.Tail())
		}
	})
}
