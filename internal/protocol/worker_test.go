package protocol

import (
	"math/bits"
	"slices"
)

// kind says who may cause a step.
type kind uint8

const (
	progress kind = iota // what happens by itself once faults have stopped, while zombies stand still
	zombie               // a step of a zombie, or something that need not happen
	fault                // counted, and bounded
)

// step is one thing that can happen next.
type step struct {
	name string
	kind kind
	to   state
}

// stepper collects the steps out of one state.
type stepper struct {
	protocol
	from  state
	steps []step
}

// add notes a step.
func (x *stepper) add(kind kind, name string, to state) {
	if kind == fault {
		if x.from.faults >= x.faults || x.from.good() {
			return
		}
		to.faults++
	}
	to.normal()
	x.steps = append(x.steps, step{name, kind, to})
}

// all returns the steps out of a state. The slice is good until the next call.
func (x *stepper) all(from state) []step {
	x.from, x.steps = from, x.steps[:0]
	for i := range from.slots {
		if from.slots[i].phase != off {
			x.connect(i)
			x.hold(i)
			x.pass(i)
			x.leave(i)
		}
		x.broker(i)
	}
	x.orphanSteps()
	x.database()
	return x.steps
}

// own is the kind of the steps of a run.
func (x *stepper) own(i int) kind {
	if x.from.slots[i].owns {
		return progress
	}
	return zombie
}

// unlink ends the client's end of a connection. What it has written may still arrive: the broker's end goes on as an
// orphan, until the broker drops it. An orphan with nothing to read is dropped at once: all it could do is keep the token
// for a while, which is the same as a broker that hands it out later. Without room it returns false and changes nothing.
func (s *state) unlink(i int) bool {
	c := &s.slots[i].conn
	switch c.up.kind {
	case noFrame, subscribeFrame:
		if c.alive {
			s.drop(c)
		}
	default:
		free := slices.Index(s.orphans[:], conn{})
		if free < 0 {
			return false
		}
		c.linked, c.receipt, c.message, c.replaced, c.recall = false, false, false, false, 0
		s.orphans[free] = *c
	}
	s.slots[i].conn = conn{}
	return true
}

// write puts a frame on its way. A connection that the broker has given up takes it and loses it.
func (l *slot) write(f frame) {
	if l.conn.alive {
		l.conn.up = f
	}
}

// end frees the slot of a run.
func (x *stepper) end(i int, kind kind, name string, change func(*state)) {
	to := x.from
	if change != nil {
		change(&to)
	}
	if to.unlink(i) {
		to.slots[i] = slot{}
		x.add(kind, name, to)
	}
}

// connect: Publisher.Connect up to SUBSCRIBE, with Lineage.Claim and Lineage.Made.
func (x *stepper) connect(i int) {
	to := x.from
	l := &to.slots[i]
	w := &to.workers[l.number]
	switch {
	case l.phase == disconnected:
		if !l.owns {
			x.end(i, zombie, "claim is fenced", nil)
			return
		}
		first := frame{kind: subscribeFrame}
		l.phase = waiting
		switch {
		case x.tokenless:
			first = frame{}
			l.phase, l.token, l.recalled, l.doubtful = ready, true, true, 0
		case !w.made:
			if !x.nameKept || w.lineage == 0 {
				w.lineage = x.from.draw()
			}
			first, l.phase = frame{kind: makeFrame}, making
		}
		if l.phase == making {
			l.lineage = w.lineage
		}
		l.conn = conn{linked: true, alive: true, number: l.number, generation: l.generation, lineage: w.lineage}
		l.write(first)
		x.add(x.own(i), "connect, claim", to)
	case l.phase == making && l.conn.receipt:
		l.conn.receipt = false
		l.phase = noting
		x.add(x.own(i), "receipt of the first token", to)
	case l.phase == noting:
		if (!l.owns || w.lineage != l.lineage) && !x.madeUnfenced {
			x.end(i, zombie, "made is fenced", nil)
			return
		}
		w.made, l.phase, l.lineage = true, waiting, 0
		l.write(frame{kind: subscribeFrame})
		x.add(x.own(i), "made", to)
	case l.phase == waiting && x.guessed && !l.conn.holds && !l.conn.message && l.conn.up.kind == noFrame:
		l.write(frame{kind: makeFrame})
		x.add(x.own(i), "sees no token, makes one", to)
	}
}

// hold: the token comes, the worker looks once more whether it is the owner, and marks what the token recalls
// (Publisher.hold, Lineage.Held, Worker.markRecalled).
func (x *stepper) hold(i int) {
	to := x.from
	l := &to.slots[i]
	switch {
	case l.phase == waiting && l.conn.message && !l.conn.receipt:
		l.conn.message, l.conn.replaced = false, false
		l.phase = holding
		x.add(x.own(i), "token comes", to)
	case l.phase == holding:
		if !l.owns && !x.unheld {
			x.end(i, zombie, "held is fenced", nil)
			return
		}
		named := l.conn.recall
		var confirmed rows
		if !x.doubtsForgotten {
			confirmed = named & l.doubtful
		}
		if l.unsettled && !l.recalled {
			confirmed = named
			if x.neverRecalled {
				confirmed = 0
			}
		}
		confirmed &^= to.done // Rows.Pending
		l.token, l.filled, l.doubtful, l.conn.recall = true, named != 0, 0, 0
		l.open |= confirmed
		if l.phase = ready; confirmed != 0 {
			l.phase, l.fetched = settling, 0
		}
		l.recalled = l.recalled || l.phase == ready
		x.add(x.own(i), "held, recall", to)
	case l.phase == settling && l.open == 0:
		l.phase, l.recalled = ready, true
		x.add(x.own(i), "settled", to)
	}
}

// pass: the stages of a pass, beside each other: fetch, send, receipt, mark (Worker.drain, publishTransaction).
func (x *stepper) pass(i int) {
	x.fetch(i)
	x.send(i)
	to := x.from
	l := &to.slots[i]
	if l.phase == ready && l.conn.receipt {
		l.conn.receipt = false
		l.open |= l.sending
		l.sending = 0
		x.add(x.own(i), "receipt of COMMIT", to)
	}
	to = x.from
	if l.phase == ready && !l.token && l.conn.message && !l.conn.receipt {
		if l.conn.replaced && !x.serialIgnored {
			x.lose(i, x.own(i), "another token comes back")
			return
		}
		l.conn.message, l.token, l.conn.recall, l.conn.replaced = false, true, 0, false
		x.add(x.own(i), "token is back", to)
	}
	to = x.from
	if l.open != 0 {
		lowest := l.open & -l.open
		to.done |= lowest
		l.open &^= lowest
		x.add(x.own(i), "mark", to)
	}
}

// fetch takes the next pending row that is not in flight. It may run ahead of the connection.
func (x *stepper) fetch(i int) {
	to := x.from
	l := &to.slots[i]
	pending := x.shard(l.generation, l.number) &^ to.done &^ (l.sending | l.open)
	if l.settles || l.fetched != 0 || pending == 0 || l.doubtful != 0 || !l.recalled && !x.fetchedEarly {
		return
	}
	l.fetched = pending & -pending
	x.add(x.own(i), "fetch", to)
}

// send looks at the clock and then writes a transaction: the next batch, or one that only empties the token
// (Publisher.Forget). Between the two the process may be paused for any time.
func (x *stepper) send(i int) {
	to := x.from
	l := &to.slots[i]
	if l.phase != ready || !l.token || l.sending != 0 || l.conn.receipt {
		return
	}
	idle := l.filled && !l.settles && (l.open == 0 || x.forgottenEarly) &&
		x.shard(l.generation, l.number)&^(to.done|l.open) == 0
	switch {
	case l.fetched == 0 && !idle:
	case !l.looked && !x.clockless:
		if l.owns {
			l.looked = true
			x.add(x.own(i), "looks at the clock", to)
		}
	case l.fetched != 0:
		named := l.fetched | l.open
		if x.openUnnamed {
			named = l.fetched
		}
		l.write(frame{commitFrame, l.fetched, named})
		l.sending, l.fetched = l.fetched, 0
		l.token, l.looked, l.filled = x.tokenless, false, true
		if x.markedEarly {
			l.open |= l.sending
		}
		x.add(x.own(i), "send", to)
	default:
		l.token, l.looked, l.filled = false, false, false
		l.write(frame{kind: commitFrame})
		x.add(x.own(i), "forget", to)
	}
}

// lose: the client gives its connection up, and connects again.
func (x *stepper) lose(i int, kind kind, name string) {
	to := x.from
	l := &to.slots[i]
	if l.sending != 0 {
		l.fetched = 0 // the pass ends
	}
	l.doubtful |= l.sending
	l.sending, l.phase, l.lineage = 0, disconnected, 0
	l.token, l.looked, l.filled = false, false, false
	if to.unlink(i) {
		x.add(kind, name, to)
	}
}

// leave: how a run, or its connection, ends on its own side.
func (x *stepper) leave(i int) {
	l := x.from.slots[i]
	if l.conn.linked {
		kind := fault
		if !l.conn.alive {
			kind = x.own(i)
		}
		x.lose(i, kind, "client loses the connection")
	}
	x.end(i, fault, "crash", func(s *state) {
		if l.owns {
			s.workers[l.number].dead = true
		}
	})
	if !l.owns {
		x.end(i, zombie, "lease is lost", nil)
		return
	}
	if l.sending != 0 || l.conn.up.kind != noFrame || l.conn.receipt {
		return
	}
	kind := fault // rebalancing, or a stop
	if x.from.changing && !l.settles || l.settles && l.phase == ready || x.shard(l.generation, l.number)&^x.from.done == 0 && l.open == 0 {
		kind = progress
	}
	x.end(i, kind, "release", func(s *state) {
		s.workers[l.number].unsettled = !x.calledSettled && (l.unsettled && !l.recalled || l.open|l.doubtful != 0)
	})
}

// senders counts, for each worker, connections on which a COMMIT would be taken now. strange says that one of them is
// of a generation that is over.
func (s *state) senders() (most int, strange bool) {
	var can [workers]rows
	note := func(n int, c conn, able bool) {
		if able && c.alive && c.holds { // what empties the token only is no sender
			can[c.number] |= 1 << n
			strange = strange || c.generation != s.generation
		}
	}
	for i, l := range s.slots {
		note(i, l.conn, l.conn.up.rows != 0 || l.looked && l.fetched != 0)
	}
	for i, c := range s.orphans {
		note(slots+i, c, c.up.rows != 0)
	}
	for _, set := range can {
		most = max(most, bits.OnesCount8(uint8(set)))
	}
	return most, strange
}
