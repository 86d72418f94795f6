package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// view is what an instance sees of ownership in one tick. Its queries need not agree with each other: what an instance
// owns is changed by nobody else while its lease lasts, and everything else only decides who does the next step.
type view struct {
	jobs    []jobView
	members []member
	hosts   map[string]string // of members, by id
}

type jobView struct {
	name       string
	generation int64
	workers    int
	next       int
	paused     bool
	triggered  int64
	timeline   int64
	hold       bool
	posts      []post
}

// post is a row of modulo.workers.
type post struct {
	number     int
	owner      string // empty: free
	epoch      int64
	unfinished bool
	unsettled  bool
	open       bool // unsettled, and its token has to be asked
	problem    bool // its token needs a person
}

const viewJobsSQL = `select job, generation, workers, coalesce(next_workers, 0), paused, triggered, coalesce(timeline, 0),
  coalesce(hold_until > clock_timestamp(), false)
from modulo.jobs where job = any($1::text[])`

// openSQL says of a worker w that rows which the broker holds may have no mark: a generation does not end before.
const openSQL = `w.unsettled and exists (select from modulo.tokens as t where t.job = w.job and t.number = w.number and t.made)`

const viewWorkersSQL = `select w.job, w.number, coalesce(w.owner::text, ''), w.epoch, w.unfinished, w.unsettled, ` + openSQL + `,
  exists (select from modulo.tokens as t where t.job = w.job and t.number = w.number and t.problem is not null)
from modulo.workers as w join modulo.jobs as j using (job, generation)
where w.job = any($1::text[])
order by w.job, w.number`

const viewInstancesSQL = `select instance::text, host || ' pid ' || pid, jobs, max_workers,
  started_at > clock_timestamp() - make_interval(secs => $1::float8)
from modulo.instances where expires_at > clock_timestamp()
order by instance`

// readView reads the jobs in the order of their names. Instances younger than young are marked so.
func readView(ctx context.Context, conn *pgx.Conn, names []string, young time.Duration) (*view, error) {
	v := &view{hosts: map[string]string{}}
	byName := map[string]*jobView{}
	rows, err := conn.Query(ctx, viewJobsSQL, names)
	if err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	v.jobs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (j jobView, err error) {
		err = row.Scan(&j.name, &j.generation, &j.workers, &j.next, &j.paused, &j.triggered, &j.timeline, &j.hold)
		return j, err
	})
	if err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	slices.SortFunc(v.jobs, func(a, b jobView) int { return slices.Index(names, a.name) - slices.Index(names, b.name) })
	for n := range v.jobs {
		byName[v.jobs[n].name] = &v.jobs[n]
	}
	if len(byName) < len(names) {
		return nil, fmt.Errorf("read jobs: of %q only %d are in modulo.jobs: %w", names, len(byName), jobs.ErrFenced)
	}
	if rows, err = conn.Query(ctx, viewWorkersSQL, names); err != nil {
		return nil, fmt.Errorf("read workers: %w", err)
	}
	var job string
	var p post
	_, err = pgx.ForEachRow(rows, []any{&job, &p.number, &p.owner, &p.epoch, &p.unfinished, &p.unsettled, &p.open, &p.problem}, func() error {
		byName[job].posts = append(byName[job].posts, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read workers: %w", err)
	}
	return v, v.readMembers(ctx, conn, young)
}

func (v *view) readMembers(ctx context.Context, conn *pgx.Conn, young time.Duration) error {
	rows, err := conn.Query(ctx, viewInstancesSQL, young.Seconds())
	if err != nil {
		return fmt.Errorf("read instances: %w", err)
	}
	v.members, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (member, error) {
		m := member{max: math.MaxInt, owned: map[string]int{}}
		var host string
		var limit *int
		err := row.Scan(&m.id, &host, &m.jobs, &limit, &m.young)
		if limit != nil {
			m.max = *limit
		}
		v.hosts[m.id] = host
		for _, j := range v.jobs {
			m.owned[j.name] = len(j.state(m.id).Owned)
		}
		return m, err
	})
	return wrap("read instances", err)
}

// missing is how many workers of a job the other instances have less than their shares.
func (v *view) missing(job string, shares map[string]map[string]int, self string) int {
	n := 0
	for _, m := range v.members {
		if m.id != self {
			n += max(0, shares[m.id][job]-m.owned[job])
		}
	}
	return n
}

// alive says whether the instance has a lease.
func (v *view) alive(id string) bool {
	_, ok := v.hosts[id]
	return ok
}

// counts is K by job.
func (v *view) counts() map[string]int {
	counts := map[string]int{}
	for _, j := range v.jobs {
		counts[j.name] = j.workers
	}
	return counts
}

// owners names who else owns workers of the job.
func (v *view) owners(j jobView, id string) []string {
	var names []string
	for _, p := range j.posts {
		if p.owner == "" || p.owner == id {
			continue
		}
		name := p.owner
		if host, ok := v.hosts[p.owner]; ok {
			name = host
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// state is the job as the instance with the id sees it.
func (j *jobView) state(id string) jobs.JobState {
	s := jobs.JobState{
		Job: j.name, Workers: j.workers, Next: j.next, Paused: j.paused, Triggered: j.triggered, Hold: j.hold,
	}
	for _, p := range j.posts {
		if p.problem {
			s.Problems++
		}
		switch p.owner {
		case "":
			s.Unowned++
		case id:
			s.Owned = append(s.Owned, jobs.Owned{
				Shard: jobs.Shard{Number: p.number, Of: j.workers, Epoch: p.epoch},
				Rest:  jobs.Rest{Unfinished: p.unfinished, Unsettled: p.unsettled},
				Open:  p.open,
			})
		}
	}
	return s
}

// open is how many workers have no owner, but something to settle.
func (j *jobView) open() int {
	n := 0
	for _, p := range j.posts {
		if p.owner == "" && p.open {
			n++
		}
	}
	return n
}

// owned is how many workers have an owner.
func (j *jobView) owned() int {
	n := 0
	for _, p := range j.posts {
		if p.owner != "" {
			n++
		}
	}
	return n
}
