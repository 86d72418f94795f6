package store_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modulo/jobs"
	"modulo/store"
)

// protocol drives instances on the real tables in any order of steps: join, tick, heartbeat, release, stop, pause, death,
// the end of leases, changes of K and their abort. After every step no row of the source may have two workers.
type protocol struct {
	*fleet
	rt      *rapid.T
	members []*player
	now     int // steps since the begin
}

// player is an instance as its process sees itself. trusting is what its own clock says about the lease; the clock of
// the database is always later, which is what the margin is for.
type player struct {
	jobs.Instance
	name     int
	running  map[int]jobs.Owned // by number; stays until released or until the lease is lost
	trusting bool
	paused   bool // the process does nothing at all, and what it runs goes on in the eyes of others
	expired  bool // in the database
}

func TestNoInterleavingGivesTwoOwners(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	rapid.Check(t, func(rt *rapid.T) {
		f.exec("truncate modulo.jobs, modulo.instances, modulo.workers, modulo.tokens")
		p := &protocol{fleet: f, rt: rt}
		defer p.end()
		p.join()
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			p.step()
			p.check()
		}
		p.recover()
	})
}

func (p *protocol) step() {
	m := p.members[rapid.IntRange(0, len(p.members)-1).Draw(p.rt, "instance")]
	action := rapid.SampledFrom([]string{
		"tick", "tick", "tick", "tick", "release", "release", "release", "beat", "join", "pause", "resume", "distrust", "expire",
		"stop", "change", "change", "abort",
	}).Draw(p.rt, "action")
	able := m.trusting && !m.paused
	switch {
	case action == "tick" && able:
		p.tick(m, false)
	case action == "stop" && able:
		p.tick(m, true)
	case action == "release" && able:
		p.releaseSome(m)
	case action == "beat" && !m.paused:
		p.beat(m)
	case action == "join" && len(p.members) < 4:
		p.join()
	case action == "pause":
		m.paused = true
	case action == "resume":
		m.paused = false
	case action == "distrust": // its own clock: a margin before that of the database
		m.trusting, m.running = false, map[int]jobs.Owned{}
	case action == "expire" && !m.trusting:
		m.expired = true
		p.exec("update modulo.instances set expires_at = clock_timestamp() where pid = $1", m.name)
	case action == "change":
		_, err := p.As(operator).ChangeWorkers(p.t.Context(), store.WorkersChange{Job: "outbox", Workers: rapid.IntRange(1, 6).Draw(p.rt, "K")})
		if _, changing := errors.AsType[*store.ChangingError](err); err != nil && !changing {
			p.rt.Fatal(err)
		}
	case action == "abort":
		if _, err := p.As(operator).AbortChange(p.t.Context(), store.WorkersChange{Job: "outbox"}); err != nil {
			p.rt.Fatal(err)
		}
	}
}

func (p *protocol) join() {
	p.now++
	cfg := store.OwnershipConfig{Jobs: []*jobs.Job{p.job}, Timing: testTiming, Version: "test"}
	cfg.MaxWorkers = rapid.SampledFrom([]int{0, 0, 2}).Draw(p.rt, "limit")
	if len(p.members) == 0 {
		cfg.MaxWorkers = 0
	}
	ownership, err := p.NewOwnership(cfg)
	if err != nil {
		p.rt.Fatal(err)
	}
	instance, err := ownership.Join(p.t.Context())
	if err != nil {
		p.rt.Fatal(err)
	}
	// The process id is the only thing in the row that can tell instances of one process apart.
	p.exec("update modulo.instances set pid = $1 where started_at = (select max(started_at) from modulo.instances)", p.now)
	p.exec("update modulo.instances set started_at = started_at - interval '1 minute'")
	p.members = append(p.members, &player{Instance: instance, name: p.now, running: map[int]jobs.Owned{}, trusting: true})
}

func (p *protocol) tick(m *player, stopping bool) {
	tick, err := m.Tick(p.t.Context(), stopping)
	switch {
	case errors.Is(err, jobs.ErrFenced) && m.expired:
		m.trusting, m.running = false, map[int]jobs.Owned{}
		return
	case err != nil:
		p.rt.Fatalf("tick of %d: %v", m.name, err)
	}
	owned := map[int]jobs.Owned{}
	for _, o := range tick.Jobs[0].Owned {
		if before, runs := m.running[o.Number]; runs || !o.GiveBack {
			if runs && before.Shard != o.Shard {
				p.rt.Fatalf("worker %v of %d became %v", before, m.name, o)
			}
		}
		owned[o.Number] = o
	}
	for number, o := range m.running {
		if _, ok := owned[number]; !ok {
			p.rt.Fatalf("worker %v was taken from %d, which has a lease", o, m.name)
		}
	}
	m.running = owned
}

// releaseSome gives back one of the workers that are to be given back: it has finished its batch.
func (p *protocol) releaseSome(m *player) {
	for _, number := range slices.Sorted(maps.Keys(m.running)) {
		o := m.running[number]
		if !o.GiveBack {
			continue
		}
		if err := m.Release(p.t.Context(), "outbox", []jobs.Owned{o}); err != nil {
			p.rt.Fatal(err)
		}
		delete(m.running, number)
		return
	}
}

func (p *protocol) beat(m *player) {
	err := m.Beat(p.t.Context())
	if m.expired != errors.Is(err, jobs.ErrFenced) || err != nil && !m.expired {
		p.rt.Fatalf("heartbeat of %d, expired %v: %v", m.name, m.expired, err)
	}
}

// check is the promise: what instances run at the same time is of one K, and no worker twice.
func (p *protocol) check() {
	owner, of := map[int]int{}, 0
	for _, m := range p.members {
		for number, o := range m.running {
			if other, taken := owner[number]; taken {
				p.rt.Fatalf("worker %d/%d is run by %d and %d", number, o.Of, other, m.name)
			}
			if of != 0 && of != o.Of {
				p.rt.Fatalf("workers of K = %d and K = %d run at the same time", of, o.Of)
			}
			owner[number], of = m.name, o.Of
		}
	}
}

// recover lets everybody die but a newcomer without a limit: it must come to own everything.
func (p *protocol) recover() {
	for _, m := range p.members {
		m.trusting, m.expired, m.running = false, true, map[int]jobs.Owned{}
	}
	p.exec("update modulo.instances set expires_at = clock_timestamp()")
	last := p.start()
	for range 4 {
		last.step()
	}
	if c := p.control(); c.Next != 0 || len(last.last.Owned) != c.Workers || c.Owned() != c.Workers {
		p.rt.Fatalf("workers are stranded: %+v", c)
	}
	if err := last.Leave(p.t.Context()); err != nil {
		p.rt.Fatal(err)
	}
}

func (p *protocol) end() {
	for _, m := range p.members {
		_ = m.Leave(context.Background()) // ends its connections
	}
}
