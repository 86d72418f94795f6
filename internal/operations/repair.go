package operations

import (
	"context"
	"errors"
	"time"

	"modulo/store"
)

// RepairRequest is what a person wants done about failed rows.
type RepairRequest struct {
	Repair store.Repair
	Filter store.FailureFilter // Job is required
	Expect *int                // refused unless so many rows match
}

// Repaired is a repair as it goes on. Its audit entry tells the same, in all instances.
type Repaired struct {
	Entry   int64        `json:"audit_id"`
	Matched int          `json:"matched"`
	Done    int          `json:"done"`
	Ended   bool         `json:"ended"`
	Result  store.Result `json:"result"`
}

func repairedOf(r *store.Repairing) Repaired {
	result := store.ResultUnderWay
	if r.Ended {
		result = store.ResultDone
	}
	return Repaired{r.Entry, r.Matched, r.Done, r.Ended, result}
}

// CountRepair counts the rows that a repair would change.
func (c *Console) CountRepair(ctx context.Context, f store.FailureFilter) (int, error) {
	return picked(ctx, c, f, c.DB.CountRepairable)
}

// Repair does a repair of any size, telling of each chunk, before it returns.
func (c *Console) Repair(ctx context.Context, by store.Actor, request RepairRequest, tell func(Repaired)) (Repaired, error) {
	if err := c.CheckJob(ctx, request.Filter.Job); err != nil {
		return Repaired{}, err
	}
	r, err := c.DB.As(by).BeginRepair(ctx, request.Repair, request.Filter, request.Expect)
	if err != nil {
		return Repaired{}, err
	}
	_, err = r.Run(ctx, func(r *store.Repairing) { tell(repairedOf(r)) })
	return repairedOf(r), err
}

// ErrBusy says that too many repairs wait in this process.
var ErrBusy = errors.New("too many repairs are under way here: try again when they have ended")

// maxQueued is how many repairs may wait until repairQueued sees them. Those it has seen wait beside, one per job at most: they
// are done one after the other.
const maxQueued = 16

// soonDone is how long StartRepair waits for the end, so that small repairs need no second look.
const soonDone = time.Second

// queued is a repair that waits for Watch.
type queued struct {
	repair *store.Repairing
	ended  chan Repaired // has room for one
}

// StartRepair begins a repair that goes on in this process after the call; only while Watch runs. The audit entry that it
// returns says how far it is. Who asks again does no harm: rows that were repaired do not match again.
func (c *Console) StartRepair(ctx context.Context, by store.Actor, request RepairRequest) (Repaired, error) {
	if err := c.CheckJob(ctx, request.Filter.Job); err != nil {
		return Repaired{}, err
	}
	r, err := c.DB.As(by).BeginRepair(ctx, request.Repair, request.Filter, request.Expect)
	if err != nil {
		return Repaired{}, err
	}
	began := repairedOf(r)
	if began.Ended {
		return began, nil
	}
	q := &queued{r, make(chan Repaired, 1)}
	select {
	case c.queue <- q:
	default:
		return Repaired{}, errors.Join(ErrBusy, r.Abort(ctx, ErrBusy))
	}
	select {
	case done := <-q.ended:
		return done, nil
	case <-time.After(soonDone):
	case <-ctx.Done():
	}
	return began, nil
}

// errStopped is why a repair of this process ended early.
var errStopped = errors.New("the instance that did it was stopped")

// waitingTold is how often repairs that wait for their turn say that they are not dead; see store.Repairing.
const waitingTold = 10 * time.Second

// repairQueued does queued repairs, one after the other, until ctx ends. What waits then is noted as not done.
func (c *Console) repairQueued(ctx context.Context) {
	var waiting []*queued // one per job at most
	for {
		if len(waiting) == 0 {
			select {
			case q := <-c.queue:
				waiting = append(waiting, q)
			case <-ctx.Done():
			}
		}
		waiting = c.dequeue(waiting)
		if ctx.Err() != nil {
			for _, q := range waiting {
				_ = q.repair.Abort(ctx, errStopped) // else it is taken for dead in a minute, with as much done as was
			}
			return
		}
		first, told := waiting[0], time.Now()
		waiting = waiting[1:]
		done := repairedOf(first.repair)
		_, err := first.repair.Run(ctx, func(r *store.Repairing) {
			done = repairedOf(r)
			if time.Since(told) < waitingTold {
				return
			}
			told, waiting = time.Now(), c.dequeue(waiting)
			for _, q := range waiting {
				_ = q.repair.Wait(ctx) // else its next chunk is refused
			}
		})
		if err != nil {
			done.Ended, done.Result = true, store.ResultEarly.Because(err)
		}
		first.ended <- done
	}
}

// dequeue adds what came since to what waits.
func (c *Console) dequeue(waiting []*queued) []*queued {
	for {
		select {
		case q := <-c.queue:
			waiting = append(waiting, q)
		default:
			return waiting
		}
	}
}
