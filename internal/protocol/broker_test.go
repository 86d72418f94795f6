package protocol

// broker: what the broker does with the connection of a slot.
func (x *stepper) broker(i int) {
	l := x.from.slots[i]
	if !l.conn.alive {
		return
	}
	x.serve(progress, func(s *state) *conn { return &s.slots[i].conn })
	kind := fault
	if !l.owns {
		kind = progress // its heart-beats are missing, if it stands still
	}
	to := x.from
	to.drop(&to.slots[i].conn)
	x.add(kind, "broker drops the connection", to)
}

// orphanSteps: of connections that their clients have left. What was written may be read still.
func (x *stepper) orphanSteps() {
	for j, c := range x.from.orphans {
		if !c.alive {
			continue
		}
		x.serve(progress, func(s *state) *conn { return &s.orphans[j] })
		to := x.from
		to.drop(&to.orphans[j])
		to.orphans[j] = conn{}
		x.add(progress, "broker drops an orphan", to)
	}
}

// serve reads the frame that is on its way, or hands the token out.
func (x *stepper) serve(kind kind, find func(*state) *conn) {
	to := x.from
	c := find(&to)
	if c.up.kind != noFrame {
		name := x.receive(&to, c)
		if !c.linked && c.up.kind == noFrame { // an orphan with nothing left to read
			if c.alive {
				to.drop(c)
			}
			*c = conn{}
		}
		x.add(kind, name, to)
	}
	to = x.from
	c = find(&to)
	if q := &to.queues[c.lineage]; c.linked && c.subscribed && !c.holds && q.tokens > 0 {
		q.tokens--
		c.holds, c.named = true, q.named
		c.message, c.recall = true, q.named
		if q.tokens == 0 {
			q.named = 0
		}
		x.add(kind, "broker hands the token out", to)
	}
}

// receive takes the frame that has come.
func (x *stepper) receive(s *state, c *conn) string {
	f := c.up
	c.up = frame{}
	q := &s.queues[c.lineage]
	switch f.kind {
	case makeFrame:
		q.tokens++
		c.receipt = c.linked && !c.subscribed
		return "broker stores the first token"
	case subscribeFrame:
		c.subscribed = true
		return "broker takes the subscription"
	case commitFrame:
		return x.commit(s, c, f)
	}
	if x.ackOutside { // second half
		s.deliver(f.rows)
	}
	x.replace(s, c, f.named)
	return "broker takes the second half"
}

// replace puts the new token into the queue, instead of the one that the connection holds.
func (x *stepper) replace(s *state, c *conn, named rows) {
	q := &s.queues[c.lineage]
	q.tokens++
	q.named = named
	for i := range s.slots {
		if other := &s.slots[i].conn; other != c && other.linked && other.lineage == c.lineage {
			other.replaced = true
		}
	}
	c.holds, c.named, c.receipt = false, 0, c.linked
	if !c.linked {
		c.number, c.generation = 0, 0
	}
}

// commit stores the messages and replaces the token, at once, if the connection holds it.
func (x *stepper) commit(s *state, c *conn, f frame) string {
	switch {
	case !c.holds && x.tokenless:
		s.deliver(f.rows)
		c.receipt = c.linked
		return "broker commits without a token"
	case !c.holds:
		s.drop(c)
		return "broker refuses a commit"
	case x.ackOutside:
		c.holds, c.named = false, 0
		c.up = frame{brokenFrame, f.rows, f.named}
		return "broker takes the ACK"
	case x.tokenOutside:
		s.deliver(f.rows)
		c.up = frame{brokenFrame, f.rows, f.named}
		return "broker commits the rows only"
	}
	s.deliver(f.rows)
	x.replace(s, c, f.named)
	return "broker commits"
}

func (s *state) deliver(set rows) {
	s.twice |= s.delivered & set
	s.delivered |= set
}

// drop ends a connection in the broker's eyes: its transaction is rolled back, and the token is back in the queue. What
// the broker has written may still reach the client.
func (s *state) drop(c *conn) {
	if c.holds {
		q := &s.queues[c.lineage]
		q.tokens++
		q.named = c.named
	}
	c.alive, c.subscribed, c.holds, c.up, c.named, c.lineage = false, false, false, frame{}, 0, 0
}
