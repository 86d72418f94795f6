package store

import (
	"cmp"
	"maps"
	"slices"
)

// member is a live instance as placement sees it.
type member struct {
	id    string
	jobs  []string
	max   int  // workers at most
	young bool // joined so recently that nobody releases workers for it yet

	owned map[string]int // workers by job
}

// share says how many workers of each job every member should own: those of a job spread evenly, those of all jobs
// as evenly as that allows, and nobody more than its limit. It starts from what they own, gives out what is free, and
// then moves one worker at a time as long as that makes the spread more even. So nothing moves needlessly, who looks at
// the same state comes to the same result, and members that follow it one after the other come to rest.
func share(workers map[string]int, members []member) map[string]map[string]int {
	s := &spread{members: members, jobs: slices.Sorted(maps.Keys(workers)), shares: map[string]map[string]int{}, busy: map[string]int{}}
	for _, m := range members {
		s.shares[m.id] = map[string]int{}
	}
	free := s.keep(workers)
	for left := true; left; { // one of each job in turn: limits hit all jobs alike
		left = false
		for _, job := range s.jobs {
			if free[job] > 0 && s.give(job) {
				free[job]--
				left = true
			}
		}
	}
	for slices.ContainsFunc(s.jobs, s.level) {
	}
	return s.shares
}

// spread is how workers are spread over the members while share works it out.
type spread struct {
	members []member
	jobs    []string
	shares  map[string]map[string]int // by member and job
	busy    map[string]int            // workers of all jobs, by member
}

func (s *spread) add(m member, job string, n int) {
	s.shares[m.id][job] += n
	s.busy[m.id] += n
}

// keep gives the members what they own, as far as they may, and returns what is free then. One that has more than its
// limit keeps as many of each job as possible.
func (s *spread) keep(workers map[string]int) (free map[string]int) {
	free = maps.Clone(workers)
	for _, m := range s.members {
		for left := true; left; {
			left = false
			for _, job := range s.jobs {
				if s.shares[m.id][job] < m.owned[job] && s.room(m, job) && free[job] > 0 {
					s.add(m, job, 1)
					free[job]--
					left = true
				}
			}
		}
	}
	return free
}

// room says whether a member may have one more worker of a job.
func (s *spread) room(m member, job string) bool {
	return s.busy[m.id] < m.max && slices.Contains(m.jobs, job)
}

// order puts members with fewer workers of the job first, then those with fewer of all jobs.
func (s *spread) order(job string) func(a, b member) int {
	return func(a, b member) int {
		return cmp.Or(cmp.Compare(s.shares[a.id][job], s.shares[b.id][job]), cmp.Compare(s.busy[a.id], s.busy[b.id]),
			cmp.Compare(a.id, b.id))
	}
}

// give adds a worker of the job to the member that has fewest; false if nobody has room.
func (s *spread) give(job string) bool {
	candidates := slices.DeleteFunc(slices.Clone(s.members), func(m member) bool { return !s.room(m, job) })
	if len(candidates) == 0 {
		return false
	}
	s.add(slices.MinFunc(candidates, s.order(job)), job, 1)
	return true
}

// level moves one worker of the job from the member that has most to the one with room that has fewest, if that makes
// the job's spread more even, or that of all jobs without making the job's less even. Each move lowers the sum of
// squares, so that there is an end.
func (s *spread) level(job string) bool {
	for _, from := range s.members {
		for _, to := range s.members {
			if s.shares[from.id][job] == 0 || !s.room(to, job) {
				continue
			}
			more := s.shares[from.id][job] - s.shares[to.id][job]
			if more > 1 || more == 1 && s.busy[from.id] > s.busy[to.id]+1 {
				s.add(from, job, -1)
				s.add(to, job, 1)
				return true
			}
		}
	}
	return false
}

// total is how many workers of a job find a member.
func total(shares map[string]map[string]int, job string) int {
	n := 0
	for _, s := range shares {
		n += s[job]
	}
	return n
}
