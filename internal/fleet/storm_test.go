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
	calm = time.Second
	// stormLease is short, so that many leases run out in a storm.
	stormLease = 3 * time.Second
	stormTick  = 500 * time.Millisecond
)

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
