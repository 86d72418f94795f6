package protocol

import "slices"

// rows is a set of rows: bit n is row n. Each row is a batch of its own.
type rows uint8

const (
	rowCount = 2
	allRows  = rows(1<<rowCount - 1)
)

// phase is where a run stands on its way to the token.
type phase uint8

const (
	off          phase = iota // the slot is free
	disconnected              // before Publisher.Connect
	making                    // has sent the first token of a lineage, waits for its receipt
	noting                    // has that receipt; before Lineage.Made
	waiting                   // has subscribed, waits for the token
	holding                   // has the token; before Lineage.Held, the second look at who owns the worker
	settling                  // marks what the token recalls
	ready                     // may fetch and send
)

// run is one worker in one process, from the moment it owns the worker until it ends. One that does not own it any more,
// by the database, and goes on is a zombie: it is not told, and may do its next step at any later time, or never.
type run struct {
	phase      phase
	number     uint8 // of the worker
	generation uint8
	owns       bool  // by the database: the worker's owner is this run
	settles    bool  // and sends nothing (Worker.Settle)
	unsettled  bool  // what the last owner left (WorkerConfig.Unsettled)
	recalled   bool  // Worker.recalled
	token      bool  // its client has the token's MESSAGE of this connection
	looked     bool  // at the clock, after the token came: its lease was not over (leased.Err); what it writes now, it writes
	filled     bool  // keeper.named is not empty
	lineage    uint8 // of the token that it makes
	fetched    rows
	sending    rows // in a COMMIT without receipt
	doubtful   rows // Worker.doubtful
	open       rows // confirmed, without a mark: Worker.open and Worker.unmarked
}

// frameKind is what a client may have under way to the broker. It is one at a time: each next frame waits for the
// broker's answer to the one before.
type frameKind uint8

const (
	noFrame frameKind = iota
	makeFrame
	subscribeFrame
	commitFrame // a whole transaction: of one that is cut off before its COMMIT nothing is left
	brokenFrame // second half of a commit that is not atomic; only in mutants
)

type frame struct {
	kind  frameKind
	rows  rows
	named rows
}

// conn is a connection with both its ends.
type conn struct {
	linked     bool // the client has not noticed an end
	alive      bool // the broker has not
	subscribed bool
	holds      bool // the broker has handed the token to this connection
	receipt    bool // on its way to the client
	message    bool // on its way to the client, behind the receipt
	replaced   bool // another connection has committed since: the token that comes has another serial number
	number     uint8
	generation uint8
	lineage    uint8
	up         frame
	named      rows // by the token that it holds
	recall     rows // named by the message on its way
}

// slot is room for a run and its connection.
type slot struct {
	run
	conn conn
}

// worker is a row of modulo.workers and one of modulo.tokens.
type worker struct {
	dead      bool // the owner has crashed, and its lease has not run out
	unsettled bool
	made      bool
	lineage   uint8
}

// queue holds the token of a lineage while no connection does.
type queue struct {
	tokens uint8
	named  rows
}

const (
	slots    = 3
	orphans  = 3
	workers  = 2
	lineages = 6 // 0 is none; names are used again once nobody knows them
)

// state is the state of everything. It is a value: steps return changed copies.
type state struct {
	delivered, twice rows // the outcome at the broker
	done             rows
	generation       uint8
	asked, changing  bool // of a change of K
	workers          [workers]worker
	queues           [lineages]queue
	slots            [slots]slot
	orphans          [orphans]conn // connections whose clients are gone, in the broker's eyes alive
	faults, expiries uint8
}

// shard are the rows of a worker.
func (p protocol) shard(generation, number uint8) (mine rows) {
	k := p.workers[generation]
	for row := range uint8(rowCount) {
		if row%k == number {
			mine |= 1 << row
		}
	}
	return mine
}

// owned says whether a worker of the present generation has an owner that the database believes in.
func (s *state) owned(number uint8) bool {
	return s.workers[number].dead || slices.ContainsFunc(s.slots[:], func(l slot) bool {
		return l.phase != off && l.owns && l.number == number
	})
}

// unfinished is store.openSQL: the broker may hold rows of the worker without marks.
func (s *state) unfinished(number uint8) bool {
	return s.workers[number].unsettled && s.workers[number].made
}

// known says whether anybody can still come back to the lineage.
func (s *state) known(lineage uint8) bool {
	for _, w := range s.workers {
		if w.lineage == lineage {
			return true
		}
	}
	for _, l := range s.slots {
		if l.lineage == lineage || l.conn.lineage == lineage {
			return true
		}
	}
	return slices.ContainsFunc(s.orphans[:], func(c conn) bool { return c.lineage == lineage })
}

// draw returns a lineage that nobody knows.
func (s *state) draw() uint8 {
	for l := uint8(1); l < lineages; l++ {
		if !s.known(l) {
			return l
		}
	}
	panic("more lineages are known than the model has room for")
}

// normal brings states that cannot be told apart to the same form.
func (s *state) normal() {
	for i := range s.slots {
		s.retire(i)
	}
	for l := range uint8(lineages) {
		if !s.known(l) {
			s.queues[l] = queue{}
		}
	}
	slices.SortFunc(s.slots[:], func(a, b slot) int { return compare(a.key(), b.key()) })
	slices.SortFunc(s.orphans[:], func(a, b conn) int { return compare(a.key(), b.key()) })
}

// retire frees the slot of a zombie that can do nothing any more but let the broker find that out.
func (s *state) retire(i int) {
	l := &s.slots[i]
	if l.phase == off || l.phase == making || l.phase == noting || l.owns || l.looked || l.open|l.sending != 0 {
		return
	}
	before := *s
	if s.unlink(i); s.slots[i].conn != (conn{}) {
		*s = before // no room
		return
	}
	s.slots[i] = slot{}
}

// compare puts the greater one first, so that free slots come last.
func compare(a, b uint64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// pack collects values of so many bits.
type pack uint64

func (k *pack) add(bits int, value uint8) { *k = *k<<bits | pack(value) }

func (k *pack) flags(flags ...bool) {
	for _, f := range flags {
		bit := uint8(0)
		if f {
			bit = 1
		}
		k.add(1, bit)
	}
}

func (c *conn) pack(k *pack) {
	k.flags(c.alive, c.linked, c.subscribed, c.holds, c.receipt, c.message, c.replaced)
	k.add(1, c.number)
	k.add(1, c.generation)
	k.add(3, c.lineage)
	k.add(3, uint8(c.up.kind))
	for _, set := range []rows{c.up.rows, c.up.named, c.named, c.recall} {
		k.add(rowCount, uint8(set))
	}
}

func (c conn) key() uint64 {
	var k pack
	c.pack(&k)
	return uint64(k)
}

func (l slot) key() uint64 {
	var k pack
	k.add(4, uint8(l.phase))
	k.flags(l.owns, l.settles, l.unsettled, l.recalled, l.token, l.looked, l.filled)
	k.add(1, l.number)
	k.add(1, l.generation)
	k.add(3, l.lineage)
	for _, set := range []rows{l.fetched, l.sending, l.doubtful, l.open} {
		k.add(rowCount, uint8(set))
	}
	l.conn.pack(&k)
	return uint64(k)
}
