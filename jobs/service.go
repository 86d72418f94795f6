package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// NewWorkerFunc puts a worker together: its rows, its failures and its connection to the broker.
type NewWorkerFunc func(*Job, Owned, *Lease) (*Worker, error)

// ServiceConfig is what a service is made of.
type ServiceConfig struct {
	Jobs      []*Job // must have passed Check
	Ownership Ownership
	NewWorker NewWorkerFunc
	Timing    Timing
	Waiting   Waiting // optional
	// Wakeups is for the jobs that listen; nil if there are none.
	Wakeups Wakeups
	// Farewell is how long a stop may take for giving back and leaving, after the workers have ended. A database that
	// does not answer by then finds out by the end of the lease.
	Farewell time.Duration
	// OnceWorkers is how many workers Once drains at the same time; 0: all. What Run takes is up to Ownership.
	OnceWorkers int
	Observer    InstanceObserver // optional
	Log         zerolog.Logger
}

// Service runs the workers that this process owns, as one instance of any number.
type Service struct {
	ServiceConfig
	crews []*crew
}

// NewService checks the timing.
func NewService(config ServiceConfig) (*Service, error) {
	if err := config.Timing.Check(); err != nil {
		return nil, fmt.Errorf("ownership: %w", err)
	}
	if config.Observer == nil {
		config.Observer = unobserved{}
	}
	s := &Service{ServiceConfig: config}
	for _, job := range config.Jobs {
		s.crews = append(s.crews, newCrew(job, config.NewWorker, config.Waiting, config.Log))
	}
	return s, nil
}

// Run is an instance until ctx ends: it runs the workers it owns by the jobs' schedules. It returns when every worker
// has finished what it had in flight and is released. An error of the first Join ends it, a later one does not.
func (s *Service) Run(ctx context.Context) error {
	clock, err := newClock()
	if err != nil {
		return err
	}
	for _, c := range s.crews {
		if err := clock.add(c.job.Name, c.job.Schedule, func() { s.Observer.Due(c.job.Name); c.tick() }); err != nil {
			return errors.Join(err, clock.stop())
		}
	}
	clock.start()
	var listening sync.WaitGroup
	defer listening.Wait()
	wake, stopListening := context.WithCancel(ctx)
	defer stopListening()
	for _, c := range s.crews {
		if c.lookout != nil {
			listening.Go(func() { c.look(wake) })
		}
	}
	if slices.ContainsFunc(s.Jobs, func(job *Job) bool { return job.Listen }) {
		ears := &hearing{tell: s.Observer.Listens}
		ears.listens(false)
		listening.Go(func() { s.announce(wake, ears) })
		listening.Go(func() { s.listen(wake, ears) })
	}
	for joined := false; ctx.Err() == nil; joined = true {
		m, joinErr := s.join(ctx, joined)
		if joinErr != nil {
			err = joinErr
			break
		}
		if err = s.serve(ctx, m); err != nil {
			break
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil
	}
	return errors.Join(err, clock.stop())
}

// membership is the time from a Join to its Leave, or to the loss of its lease.
type membership struct {
	instance Instance
	lease    *Lease
	asked    time.Time // when the lease was asked for: it is trusted from there
	working  sync.WaitGroup
	ended    chan struct{} // holds a token when a worker has ended
	outage   trouble
}

// wake makes the service look again at once.
func (m *membership) wake() {
	select {
	case m.ended <- struct{}{}:
	default:
	}
}

// join becomes an instance. With patience it tries until ctx ends.
func (s *Service) join(ctx context.Context, patient bool) (*membership, error) {
	pace := backoff{min: minPause, max: s.Timing.Tick}
	var outage trouble
	for {
		asked := time.Now()
		instance, err := s.joinOnce(ctx)
		s.Observer.Asked(err)
		if err == nil {
			outage.report(&s.Log, nil, "join")
			lease := newLease(asked.Add(s.Timing.trusted()))
			return &membership{instance: instance, lease: lease, asked: asked, ended: make(chan struct{}, 1)}, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !patient {
			return nil, err
		}
		outage.report(&s.Log, err, "join")
		if !pause(ctx, pace.next()) {
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Service) joinOnce(ctx context.Context) (Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timing.trusted())
	defer cancel()
	return s.Ownership.Join(ctx)
}

// serve is an instance until ctx ends or its lease is lost.
func (s *Service) serve(ctx context.Context, m *membership) error {
	beats, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var beating sync.WaitGroup
	beating.Go(func() { s.beat(beats, m) })
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	err := s.share(work, m)
	s.Observer.Left()
	if err != nil {
		stopWork()
	}
	// Without a lease nothing is sent any more, but what is confirmed gets its marks, before anything is fetched anew.
	m.working.Wait()
	stopBeating()
	beating.Wait()
	for _, c := range s.crews {
		c.forget()
	}
	return errors.Join(err, s.leave(ctx, m))
}

// leave frees at once what the instance still owns. If it cannot, the end of the lease does.
func (s *Service) leave(ctx context.Context, m *membership) error {
	if m.lease.lost() {
		s.Log.Warn().Msg("lease lost: nothing was sent since; joining again as a new instance")
		return nil
	}
	m.lease.lose()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Farewell/farewells)
	defer cancel()
	if err := m.instance.Leave(ctx); err != nil {
		s.Log.Warn().Err(err).Dur("lease_ms", s.Timing.Lease).Msg("leave: others wait for the end of the lease")
	}
	return nil
}

// beat renews the lease until ctx ends or the lease is lost. The time to the next renewal counts from the begin of the last:
// after a slow Join the lease is nearly over already.
func (s *Service) beat(ctx context.Context, m *membership) {
	var outage trouble
	for wait := time.Until(m.asked.Add(s.Timing.Heartbeat)); pause(ctx, wait) && !m.lease.lost(); {
		asked := time.Now()
		call, cancel := context.WithTimeout(ctx, s.Timing.Heartbeat)
		err := m.instance.Beat(call)
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.Observer.Asked(err)
		switch {
		case err == nil:
			m.lease.renew(asked.Add(s.Timing.trusted()))
			wait = time.Until(asked.Add(s.Timing.Heartbeat))
		case errors.Is(err, ErrFenced):
			s.Log.Error().Msg("heartbeat: the lease has run out in the database")
			m.lease.lose()
			return
		default:
			wait = s.Timing.Heartbeat / beatRetries
		}
		outage.report(&s.Log, err, "heartbeat")
	}
}

const (
	beatRetries = 6 // after a failed heartbeat: that much sooner
	soonTicks   = 5 // while something changes hands: that many ticks in the time of one
	farewells   = 4 // calls that fit into Farewell; the last tick and Leave need two, and the rest is slack
)

// share ticks, and starts and stops workers, until ctx has ended and they have too, or the lease is lost.
func (s *Service) share(ctx context.Context, m *membership) error {
	held, unbind := m.lease.Bind(context.WithoutCancel(ctx))
	defer unbind()
	stopping := ctx.Done()
	for {
		soon, err := s.tick(ctx, m)
		if err != nil || held.Err() != nil {
			return err
		}
		if ctx.Err() != nil {
			stopping = nil // once is enough
			if s.released() || !s.running() && !m.outage.since.IsZero() {
				return nil
			}
		}
		wait := s.Timing.Tick
		if soon {
			wait /= soonTicks
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-m.ended:
		case <-stopping:
		case <-held.Done():
		}
		timer.Stop()
	}
}

// tickTime is the context of the calls of a tick: it ends with the lease, soon after the service is told to stop, and
// when a connection hangs while heartbeats get through on theirs.
func (s *Service) tickTime(ctx context.Context, m *membership) (context.Context, context.CancelFunc) {
	farewell, cancelFarewell := outlive(ctx, s.Farewell/farewells)
	held, unbind := m.lease.Bind(farewell)
	call, cancel := context.WithTimeout(held, s.Timing.trusted())
	return call, func() { cancel(); unbind(); cancelFarewell() }
}

// tick asks once what is to do, and does it. ctx ends when the service stops. An error ends the service.
func (s *Service) tick(ctx context.Context, m *membership) (soon bool, err error) {
	call, cancel := s.tickTime(ctx, m)
	defer cancel()
	state, err := m.instance.Tick(call, ctx.Err() != nil)
	s.Observer.Asked(err)
	m.outage.report(&s.Log, err, "ownership")
	if errors.Is(err, ErrFenced) {
		m.lease.lose()
	}
	if err != nil {
		return false, nil
	}
	s.Observer.Ticked(state)
	for _, dead := range state.Dead {
		s.Log.Warn().Str("instance", dead).Msg("an instance did not renew its lease; its workers are taken over")
	}
	if state.Moved {
		s.Log.Warn().Msg("the database is another server than before: no worker starts for the time of one lease")
	}
	for i, c := range s.crews {
		c.tellUnowned(state.Jobs[i], unownedPatience*s.Timing.Tick)
		released, trusted, err := c.apply(ctx, m, state.Jobs[i], state.Moved)
		if err != nil {
			return false, err
		}
		if !trusted {
			m.lease.lose()
			return false, nil
		}
		if len(released) == 0 {
			continue
		}
		if err := m.instance.Release(call, c.job.Name, released); err != nil {
			m.outage.report(&s.Log, err, "release")
			return true, nil // the next tick names them again
		}
		m.wake() // what they were waited for can happen now
	}
	return state.Soon, nil
}

// released says whether every worker has ended and was given back.
func (s *Service) released() bool {
	return !slices.ContainsFunc(s.crews, func(c *crew) bool { return c.size() > 0 })
}

// running says whether a worker has not ended yet.
func (s *Service) running() bool {
	return slices.ContainsFunc(s.crews, (*crew).running)
}
