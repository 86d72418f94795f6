package store

import (
	"cmp"
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
// as evenly as that allows, and nobody more than its limit. Members that own a worker keep it where that makes no
// difference, so that everybody who looks at the same state comes to the same result and nothing moves needlessly.
func share(workers map[string]int, members []member) map[string]map[string]int {
	shares := make(map[string]map[string]int, len(members))
	busy := make(map[string]int, len(members)) // workers of all jobs
	for _, m := range members {
		shares[m.id] = map[string]int{}
	}
	jobs := make([]string, 0, len(workers))
	most := 0
	for job, n := range workers {
		jobs = append(jobs, job)
		most = max(most, n)
	}
	slices.Sort(jobs)
	// Worker by worker of each job in turn: limits hit all jobs alike.
	for round := range most {
		for _, job := range jobs {
			if round >= workers[job] {
				continue
			}
			candidates := slices.DeleteFunc(slices.Clone(members), func(m member) bool {
				return busy[m.id] >= m.max || !slices.Contains(m.jobs, job)
			})
			if len(candidates) == 0 {
				continue
			}
			next := slices.MinFunc(candidates, func(a, b member) int {
				return cmp.Or(
					cmp.Compare(shares[a.id][job], shares[b.id][job]),
					cmp.Compare(busy[a.id], busy[b.id]),
					cmp.Compare(b.owned[job], a.owned[job]),
					cmp.Compare(a.id, b.id),
				)
			})
			shares[next.id][job]++
			busy[next.id]++
		}
	}
	return shares
}

// total is how many workers of a job find a member.
func total(shares map[string]map[string]int, job string) int {
	n := 0
	for _, s := range shares {
		n += s[job]
	}
	return n
}
