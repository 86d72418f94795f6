package bench

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	defaultBatch   = 1000
	defaultPayload = 512
	standardK      = 5 // the K that targets are stated for
)

// ErrPlan says that what was asked for cannot be measured.
var ErrPlan = errors.New("bench")

// Plan says which cases to measure.
type Plan struct {
	Groups  []string      // of Groups
	Workers []int         // K of the group modulo
	Confirm []string      // of the group modulo: Transaction, Receipt
	Payload int           // bytes
	Delay   time.Duration // of the group delayed
	Match   string        // regular expression: only cases with such a name
}

// Groups are what can be chosen, in the order in which they are measured.
func Groups() []string {
	return []string{"ceiling", "database", "modulo", "original", "plain", "river", "delayed", "latency", "memory", "idle"}
}

// group returns the cases of a group.
func (p Plan) group(name string, rivals bool) []*Case {
	plain := func(kind Kind, workers int) *Case { return &Case{Kind: kind, Workers: workers} }
	switch name {
	case "ceiling":
		return p.ceilings()
	case "database":
		return []*Case{{Kind: Database, Workers: standardK, Batch: defaultBatch}}
	case "modulo":
		return p.modulos()
	case "original":
		return []*Case{plain(Original, 1), plain(Original, standardK)}
	case "plain":
		return []*Case{plain(Plain, standardK)}
	case "river":
		return []*Case{plain(River, standardK)}
	case "delayed":
		return p.delayed(rivals)
	case "latency":
		return p.paced(rivals)
	case "idle":
		return []*Case{{Kind: Modulo, Task: Idle, Workers: 64, Confirm: Transaction, Tokens: true, Batch: defaultBatch}}
	case "memory":
		return []*Case{{Kind: Modulo, Workers: 64, Confirm: Transaction, Tokens: true, Batch: defaultBatch, Payload: 1000}}
	}
	return nil
}

// ceilings are measured for one connection and for five, with the same ways to confirm as Modulo.
func (p Plan) ceilings() []*Case {
	var cases []*Case
	for _, confirm := range p.Confirm {
		for _, k := range []int{1, standardK} {
			cases = append(cases, &Case{Kind: Ceiling, Workers: k, Confirm: confirm, Batch: defaultBatch})
		}
	}
	return cases
}

func (p Plan) modulos() []*Case {
	var cases []*Case
	for _, confirm := range p.Confirm {
		for _, k := range p.Workers {
			tokens := confirm == Transaction // the broker can keep none for receipts
			cases = append(cases, &Case{Kind: Modulo, Workers: k, Confirm: confirm, Tokens: tokens, Batch: defaultBatch})
			if tokens && k == standardK {
				cases = append(cases, &Case{Kind: Modulo, Workers: k, Confirm: confirm, Batch: defaultBatch})
			}
		}
	}
	return cases
}

// delayed are cases with a delay of every confirmation: the defaults, what the original makes of it, and batches of one
// row, where the delay is all that counts.
func (p Plan) delayed(rivals bool) []*Case {
	cases := []*Case{
		{Kind: Modulo, Workers: standardK, Confirm: Transaction, Tokens: true, Batch: defaultBatch},
		{Kind: Modulo, Workers: 1, Confirm: Transaction, Tokens: true, Batch: 1},
		{Kind: Modulo, Workers: 32, Confirm: Transaction, Tokens: true, Batch: 1},
	}
	if rivals {
		cases = append(cases, &Case{Kind: Original, Workers: standardK})
	}
	for _, c := range cases {
		c.Delay = p.Delay
	}
	return cases
}

// paced are those that wait for rows: the clocks of all but River and of Modulo with listen tick every half second.
func (p Plan) paced(rivals bool) []*Case {
	standard := Case{Kind: Modulo, Task: Pace, Workers: standardK, Confirm: Transaction, Tokens: true, Batch: defaultBatch}
	listening := standard
	listening.Listen = true
	cases := []*Case{&standard, &listening}
	if rivals {
		for _, kind := range []Kind{Original, Plain, River} {
			cases = append(cases, &Case{Kind: kind, Task: Pace, Workers: standardK})
		}
	}
	return cases
}

// cases checks the plan and writes it out. A case that several groups have is measured once.
func (p Plan) cases(rivals bool) ([]*Case, error) {
	for _, name := range p.Groups {
		if !slices.Contains(Groups(), name) {
			return nil, fmt.Errorf("%w: no case %q; there are: %s", ErrPlan, name, strings.Join(Groups(), ", "))
		}
	}
	for _, confirm := range p.Confirm {
		if confirm != Transaction && confirm != Receipt {
			return nil, fmt.Errorf("%w: confirm %q: want %s or %s", ErrPlan, confirm, Transaction, Receipt)
		}
	}
	if slices.ContainsFunc(p.Workers, func(k int) bool { return k < 1 || k > 512 }) {
		return nil, fmt.Errorf("%w: workers %v: want 1 to 512", ErrPlan, p.Workers)
	}
	if p.Payload < 1 || p.Payload > 1<<20 || p.Delay <= 0 {
		return nil, fmt.Errorf("%w: payload %d: want 1 to 1048576 bytes; delay %s: want more than 0", ErrPlan, p.Payload, p.Delay)
	}
	match, err := regexp.Compile(p.Match)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	var cases []*Case
	for _, name := range Groups() {
		if !slices.Contains(p.Groups, name) {
			continue
		}
		for _, c := range p.group(name, rivals) {
			if c.Payload == 0 {
				c.Payload = p.Payload
			}
			c.Task = cmp.Or(c.Task, Drain)
			c.DelayMS = float64(c.Delay.Microseconds()) / 1000
			c.Name = c.name()
			if !match.MatchString(c.Name) {
				continue
			}
			if rival := c.Kind == Original || c.Kind == Plain || c.Kind == River; rival && !rivals {
				return nil, fmt.Errorf("%w: case %s: needs the programs that `make bench` builds, and --rivals with their directory", ErrPlan, name)
			}
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%w: no such case; there are: %s", ErrPlan, strings.Join(Groups(), ", "))
	}
	return cases, nil
}
