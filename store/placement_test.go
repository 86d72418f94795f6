package store

import (
	"fmt"
	"maps"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Whatever instances there are: shares are even within the limits, no worker that could have an owner is left over, and
// instances that follow their shares one after the other come to rest, after which nothing moves.
func TestSharesAreEvenAndStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.IntRange(1, 9), 1, 3).Draw(t, "K")
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID)
		members := make([]member, rapid.IntRange(1, 4).Draw(t, "instances"))
		for i := range members {
			members[i] = member{
				id: fmt.Sprint(i), jobs: append(names.Draw(t, "jobs"), "a"), owned: map[string]int{},
				max: rapid.SampledFrom([]int{0, 1, 3, math.MaxInt}).Draw(t, "limit"),
			}
		}
		for job, k := range workers { // who owns what at the beginning
			for range rapid.IntRange(0, k).Draw(t, "owned") {
				members[rapid.IntRange(0, len(members)-1).Draw(t, "owner")].owned[job]++
			}
		}
		for range 4 {
			for i := range members {
				follow(workers, members, i)
			}
		}
		shares := share(workers, members)
		for _, m := range members {
			for job := range workers {
				if m.owned[job] != shares[m.id][job] {
					t.Fatalf("not at rest: %v of %v", members, shares)
				}
			}
		}
		checkEven(t, workers, members)
	})
}

// follow gives back what member i has too much and takes what is free.
func follow(workers map[string]int, members []member, i int) {
	wanted := share(workers, members)[members[i].id]
	for job, k := range workers {
		free := k
		for _, m := range members {
			free -= m.owned[job]
		}
		missing := wanted[job] - members[i].owned[job]
		members[i].owned[job] += min(missing, free)
	}
}

func checkEven(t *rapid.T, workers map[string]int, members []member) {
	busy := make([]int, len(members))
	for i, m := range members {
		for n := range maps.Values(m.owned) {
			busy[i] += n
		}
		if busy[i] > m.max {
			t.Fatalf("instance %s has more than its limit: %v", m.id, members)
		}
	}
	for job, k := range workers {
		owned := 0
		for i, m := range members {
			owned += m.owned[job]
			for j, other := range members {
				runs := contains(m, job) && contains(other, job)
				if runs && busy[j] < other.max && m.owned[job] > other.owned[job]+1 {
					t.Fatalf("job %s: %d and %d workers: %v", job, m.owned[job], other.owned[job], members)
				}
			}
			if contains(m, job) && busy[i] < m.max && owned < k && i == len(members)-1 {
				t.Fatalf("job %s: %d of %d have an owner: %v", job, owned, k, members)
			}
		}
	}
}

func contains(m member, job string) bool {
	for _, j := range m.jobs {
		if j == job {
			return true
		}
	}
	return false
}
