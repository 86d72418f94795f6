package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"modulo/internal/local"
	"modulo/internal/programtest"
	"modulo/internal/testservers"
)

// servers are a fleet's own, to be killed and started again.
type servers struct {
	postgres *local.Postgres
	broker   *local.ActiveMQ
}

// newFleetWithServers stands on servers of its own, which sync to disk as in real life.
func newFleetWithServers(t *testing.T, lease, tick time.Duration) *fleet {
	t.Helper()
	s := &servers{testservers.OwnPostgres(t, local.PostgresConfig{}), testservers.OwnBroker(t)}
	database := s.postgres.URL("postgres")
	programtest.Do(t, "migrate", "up", "--database-url", database)
	f := &fleet{t: t, url: database, brokerURL: s.broker.URL(), servers: s}
	f.prepare(database, lease, tick)
	return f
}

// outageLimit is how long a killed server stays down at most, before its start begins.
const outageLimit = time.Second

// serverKinds is what strikes in a storm of servers, as it is printed.
var serverKinds = []*kind{
	{
		name: "kill -9, started anew", share: 5, repeats: true, loses: true, ends: true, most: stormLease,
		strike: (*member).kill, mend: (*member).start,
	},
	{
		name: "SIGSTOP beyond the lease, SIGCONT", share: 2, repeats: true, loses: true, least: stormLease, most: longest,
		strike: (*member).freeze, mend: (*member).thaw,
	},
	{
		name: "ActiveMQ killed, started again", share: 2, repeats: true, everybody: true, most: outageLimit,
		strike: func(m *member) error { m.f.servers.broker.Kill(); return nil },
		mend:   func(m *member) error { return m.f.servers.broker.Start(m.f.t.Context()) },
	},
	{
		name: "PostgreSQL killed, started again", share: 2, repeats: true, loses: true, everybody: true, most: outageLimit,
		strike: func(m *member) error { m.f.servers.postgres.Kill(); return nil },
		mend:   func(m *member) error { return m.f.servers.postgres.Start(m.f.t.Context()) },
	},
	{
		name: "ActiveMQ connection cut at a byte", share: 2, repeats: true,
		strike: func(m *member) error { return m.broker.proxy.CutAtRandom(m.f.t.Context(), m.rng, brokerAnswers) },
		mend:   func(m *member) error { return m.broker.mend() },
	},
	{
		name: "PostgreSQL connection cut at a byte", share: 2, repeats: true,
		strike: func(m *member) error { return m.database.proxy.CutAtRandom(m.f.t.Context(), m.rng, databaseAnswers) },
		mend:   func(m *member) error { return m.database.mend() },
	},
	{
		name: "K changed", share: 2, everybody: true,
		strike: (*member).changeWorkers, mend: func(*member) error { return nil },
	},
}

// What the servers answer in some batches, in bytes. ActiveMQ hands out receipts and tokens.
const (
	brokerAnswers   = 2_000
	databaseAnswers = 20_000
)

// mostWorkers is the highest K of a storm.
const mostWorkers = 16

// changeWorkers asks for another K and does not wait until it is in force. It asks again while the database is away, or
// another change is under way.
func (m *member) changeWorkers() error {
	ctx, cancel := context.WithTimeout(m.f.t.Context(), patience)
	defer cancel()
	k := fmt.Sprint(1 + m.rng.IntN(mostWorkers))
	var out string
	err := programtest.Await(ctx, 200*time.Millisecond, func() (asked bool, err error) {
		var code int
		out, code, err = programtest.Run(ctx, "workers", "set", "outbox", k, "--config", m.f.config, "--database-url", m.f.url)
		return code == 0, err
	})
	if err != nil {
		return fmt.Errorf("workers set %s: %w\n%s", k, err, out)
	}
	return nil
}

// stacked is so many decks, in random order all together: of each kind its share. Without decks it is each kind once.
func stacked(rng *rand.Rand, decks int) []*kind {
	var all []*kind
	for _, k := range serverKinds {
		for range max(1, decks*k.share) {
			all = append(all, k)
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// TestStormOfServers kills, besides the instances, the servers under them, cuts connections at any byte, and changes K: no
// row is lost, none is repeated, and no worker has two senders.
func TestStormOfServers(t *testing.T) {
	t.Parallel()
	f := newFleetWithServers(t, stormLease, stormTick)
	f.keepLedger()
	rng := programtest.Rand(t)
	fleet := f.launchAll(rng, false)
	began := time.Now()
	strikes := drawStrikes(rng, stacked(rng, *decks))
	struck, err := blow(t.Context(), fleet, strikes, func(int) bool { return false })
	if err != nil {
		t.Fatalf("storm: %v", err)
	}
	blew := time.Since(began)
	v := f.settle(fleet)
	o := newOutcome()
	l := f.ledger(t)
	o.explainStream(f.stream, struck, l)
	o.measure(f.stream, struck, l)
	var text strings.Builder
	fmt.Fprintf(&text, "%d instances, K = 1 to %d, %.0f rows/s (of %d), %s, lease %s, tick %s, patience of ActiveMQ %s\n",
		members, mostWorkers, f.load.perSecond(), *rate, blew.Round(time.Second), stormLease, stormTick, brokerPatience)
	o.printFaults(&text, serverKinds, struck)
	fmt.Fprintf(&text, "take-over, next frame: the slowest of %d workers, from the last fault that the next owner had to wait for; a frame may take %s, and %s more on a busy machine\n\n",
		o.measured, resumeLimit, *busy)
	o.printVerdict(&text, v)
	t.Log(text.String())
	o.report(t, struck)
}

// brokerPatience is after how much silence ActiveMQ drops a connection, and hands on its token: three heart-beats.
const brokerPatience = 3 * time.Second

// resumeLimit is how long after a strike the next owner sends.
var resumeLimit = takeOverLimit + brokerPatience

// measure notes, for each strike that took workers from its victim, when they had their next owners, and when these sent:
// from the strike, or from the last fault after it that they had to wait for as well.
func (o *outcome) measure(stream *stream, struck []*strike, l ledger) {
	for _, s := range struck {
		if !s.loses || s.everybody {
			continue
		}
		for i := range l {
			t := &l[i]
			if !t.taken || !s.hits(t) {
				continue
			}
			next := l.next(t)
			if next == nil { // K changed
				continue
			}
			frame := stream.firstFrame(next.epoch)
			if frame.IsZero() { // it only settled what was left, before a change of K
				continue
			}
			o.measured++
			o.takeOver[s.kind] = max(o.takeOver[s.kind], next.from.Sub(s.waited(struck, next.from)))
			took := frame.Sub(s.waited(struck, frame))
			o.resumed[s.kind] = max(o.resumed[s.kind], took)
			if took > resumeLimit+*busy {
				o.fail("%s: the next owner of worker %d/%d sent %s after the last fault", s, t.number, t.of, took.Round(time.Millisecond))
			}
		}
	}
}

// waited is from when on nothing kept the next owners waiting but the last fault before they were there: a lease that runs
// from a strike, a server that starts again.
func (s *strike) waited(struck []*strike, until time.Time) time.Time {
	since := s.began
	for _, other := range struck {
		from := other.began
		if other.everybody {
			from = other.mended
		}
		if (other.loses || other.everybody) && from.After(since) && from.Before(until) {
			since = from
		}
	}
	return since
}

// awaitFlow waits until a message comes.
func (f *fleet) awaitFlow(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no message for %s", patience))
	defer cancel()
	before, _ := f.stream.arrived()
	return programtest.Await(ctx, 20*time.Millisecond, func() (bool, error) {
		now, _ := f.stream.arrived()
		return now > before, nil
	})
}
