package protocol

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// node is how a state was first reached.
type node struct {
	from int32
	by   string
}

// search goes breadth-first through every state that can be reached, so that what it finds is found by the shortest way.
type search struct {
	stepper
	seen     map[uint64]int32 // by hash: two states of the same one are less likely than a broken machine
	seed     maphash.Seed
	frontier []state // of the states, by number, those from first on
	first    int32
	nodes    []node
	steps    int
	good     []int32    // states in which everything is delivered and marked
	healing  [][2]int32 // steps from, to that happen without faults and zombies
}

// explore returns nil if every reachable state keeps the invariants and leads, without more faults, to one in which
// everything is delivered and marked.
func (p protocol) explore() (*search, error) {
	x := &search{stepper: stepper{protocol: p}, seen: map[uint64]int32{}, seed: maphash.MakeSeed()}
	x.visit(state{}, node{-1, "start"})
	for len(x.frontier) > 0 {
		s := x.frontier[0]
		x.frontier = x.frontier[1:]
		at := x.first
		x.first++
		if problem := s.problem(); problem != "" {
			return x, fmt.Errorf("%s:\n%s", problem, x.way(at))
		}
		if s.good() {
			x.good = append(x.good, at)
		}
		for _, step := range x.all(s) {
			x.steps++
			to := x.visit(step.to, node{at, step.name})
			if step.kind == progress && to != at {
				x.healing = append(x.healing, [2]int32{at, to})
			}
		}
	}
	if at, stranded := x.stranded(); stranded {
		return x, fmt.Errorf("rows are stranded:\n%s", x.way(at))
	}
	return x, nil
}

// visit returns the number of a state.
func (x *search) visit(s state, how node) int32 {
	hash := maphash.Comparable(x.seed, s)
	if n, ok := x.seen[hash]; ok {
		return n
	}
	n := int32(len(x.nodes))
	x.seen[hash] = n
	x.nodes = append(x.nodes, how)
	x.frontier = append(x.frontier, s)
	return n
}

// problem says which invariant a state breaks.
func (s *state) problem() string {
	if s.twice != 0 {
		return "a row is repeated"
	}
	if s.done&^s.delivered != 0 {
		return "a row is lost: it is marked and was not delivered"
	}
	most, strange := s.senders()
	if most > 1 {
		return "two connections can commit for one worker"
	}
	if strange {
		return "a worker of a generation that is over can commit"
	}
	for l := range uint8(lineages) {
		if s.tokens(l) > 1 {
			return "there are two tokens in one queue"
		}
	}
	return ""
}

// tokens counts those of a lineage, also the ones that a connection holds.
func (s *state) tokens(lineage uint8) int {
	n := int(s.queues[lineage].tokens)
	for _, l := range s.slots {
		if l.conn.holds && l.conn.lineage == lineage {
			n++
		}
	}
	for _, c := range s.orphans {
		if c.holds && c.lineage == lineage {
			n++
		}
	}
	return n
}

// good says whether nothing is left to do.
func (s *state) good() bool {
	return s.delivered == allRows && s.done == allRows && !s.changing
}

// stranded looks backwards from the good states for one that leads to none of them.
func (x *search) stranded() (at int32, found bool) {
	begins := make([]int32, len(x.nodes)+1) // of the healing steps that end in each state
	for _, step := range x.healing {
		begins[step[1]+1]++
	}
	for i := range len(x.nodes) {
		begins[i+1] += begins[i]
	}
	sources, filled := make([]int32, len(x.healing)), make([]int32, len(x.nodes))
	for _, step := range x.healing {
		to := step[1]
		sources[begins[to]+filled[to]] = step[0]
		filled[to]++
	}
	heals := make([]bool, len(x.nodes))
	todo := x.good
	for _, at := range todo {
		heals[at] = true
	}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, source := range sources[begins[at]:begins[at+1]] {
			if !heals[source] {
				heals[source] = true
				todo = append(todo, source)
			}
		}
	}
	for at, is := range heals {
		if !is {
			return int32(at), true
		}
	}
	return 0, false
}

// way lists the steps to a state.
func (x *search) way(at int32) string {
	var names []string
	for ; at > 0; at = x.nodes[at].from {
		names = append(names, x.nodes[at].by)
	}
	var b strings.Builder
	for i := range names {
		fmt.Fprintf(&b, "%3d %s\n", i+1, names[len(names)-1-i])
	}
	return b.String()
}
