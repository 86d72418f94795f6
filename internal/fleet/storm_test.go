package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
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
	calm      = time.Second
	stormTick = 500 * time.Millisecond
)

// stormLease is short, so that many leases run out in a storm. `make chaos` has the machine for itself; elsewhere nobody who is
// not struck loses a lease because the machine stops for some seconds.
var stormLease = programtest.ShortOrLong(5*time.Second, 3*time.Second)

// strike is one fault: what was drawn, and what became of it.
type strike struct {
	*kind
	member int
	calm   time.Duration // since the strike before
	lasts  time.Duration

	pid    int // that was struck; 0: everybody was
	began  time.Time
	mended time.Time     // about to be
	back   time.Duration // from there until the member owned workers again, or messages came
}

func (s *strike) String() string {
	return fmt.Sprintf("%s - %s: %s of process %d, back %s later", s.began.Format(clock), s.mended.Format(clock), s.name, s.pid,
		s.back.Round(time.Millisecond))
}

// hits says whether the strike hit the owner of a worker while it owned it.
func (s *strike) hits(t *tenure) bool {
	return (s.everybody || s.pid == t.pid) && t.overlaps(s.began, s.mended)
}

// clock shows times as far as they differ in a storm.
const clock = "15:04:05.000"

// drawStrikes draws the kinds, in order: for whom, and how long. Neighbours strike different members.
func drawStrikes(rng *rand.Rand, deck []*kind) []*strike {
	var strikes []*strike
	victim := rng.IntN(members)
	for _, k := range deck {
		victim = (victim + 1 + rng.IntN(members-1)) % members
		strikes = append(strikes, &strike{
			kind: k, member: victim, calm: programtest.UpTo(rng, calm), lasts: k.least + programtest.UpTo(rng, k.most-k.least),
		})
	}
	return strikes
}

// shuffled is deck after deck: each kind once, in random order.
func shuffled(rng *rand.Rand, decks int) []*kind {
	var all []*kind
	for range decks {
		for _, i := range rng.Perm(len(kinds)) {
			all = append(all, kinds[i])
		}
	}
	return all
}

// TestStorm lets faults of all kinds strike three instances at random, under a steady load.
func TestStorm(t *testing.T) {
	t.Parallel()
	cabled := buildNamespaces(t, members)
	f := newFleet(t, stormLease, stormTick)
	f.keepLedger()
	rng := programtest.Rand(t)
	fleet := f.launchAll(rng, cabled)
	began := time.Now()
	struck, err := blow(t.Context(), fleet, drawStrikes(rng, shuffled(rng, 1+int(*lasts/(5*time.Second)))), func(struck int) bool {
		return struck >= len(kinds) && time.Since(began) > *lasts
	})
	if err != nil {
		t.Errorf("storm: %v", err)
	}
	blew := time.Since(began)
	v := f.settle(fleet)
	o := explain(f.stream, struck, f.ledger(t))
	o.print(t, f, v, struck, blew, cabled)
	o.report(t, struck)
}

// settle sees that messages come again after a storm, judges what became of the rows, and stops the members.
func (f *fleet) settle(members []*member) verdict {
	f.t.Helper()
	f.awaitRows(*rate)
	v := f.judge()
	for _, m := range members {
		if err := m.stop(); err != nil {
			f.t.Error(err)
		}
	}
	return v
}

// report fails the test for all that is wrong, and then tells what struck.
func (o *outcome) report(t *testing.T, struck []*strike) {
	t.Helper()
	for _, wrong := range o.wrong {
		t.Error(wrong)
	}
	if t.Failed() {
		for _, s := range struck {
			t.Log(s)
		}
	}
}

// launchAll starts the members and waits until they share the workers.
func (f *fleet) launchAll(rng *rand.Rand, cabled bool) []*member {
	f.t.Helper()
	var all []*member
	for n := range members {
		m := f.enlist(n, cabled)
		m.rng = rand.New(rand.NewPCG(rng.Uint64(), 0))
		if err := m.start(); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, m)
	}
	f.awaitShared(stormWorkers, members)
	return all
}

// blow lets the strikes happen, until it is over after so many. It returns those that did.
func blow(ctx context.Context, fleet []*member, strikes []*strike, over func(struck int) bool) (struck []*strike, err error) {
	turns := make(chan struct{}, atOnce)
	problems := make([]error, len(strikes))
	var striking sync.WaitGroup
	for i, s := range strikes {
		if over(i) {
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
	if s.everybody {
		s.turn.Lock()
		defer s.turn.Unlock()
	}
	s.began = time.Now()
	if !s.everybody {
		s.pid = m.process.PID()
	}
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
	err := m.awaitWork(ctx)
	if err == nil && s.everybody {
		err = m.f.awaitFlow(ctx)
	}
	if err != nil {
		return fmt.Errorf("after %s: %w", s.name, err)
	}
	s.back = time.Since(s.mended)
	return nil
}
