package protocol

// database: what happens to workers and their owners, whoever runs the statement.
func (x *stepper) database() {
	for number := range x.workers[x.from.generation] {
		x.acquire(number)
		x.expire(number)
	}
	if !x.from.asked && !x.from.good() && x.workers[1] != x.workers[0] {
		to := x.from
		to.asked, to.changing = true, true
		x.add(zombie, "another K is asked for", to)
	}
	x.change()
}

// acquire: acquireSQL, and settleSQL while a change of K waits. A worker without pending rows is left alone: whoever owned
// it could send nothing.
func (x *stepper) acquire(number uint8) {
	to := x.from
	w := &to.workers[number]
	if to.owned(number) || to.changing && !to.unfinished(number) ||
		!to.changing && x.shard(to.generation, number)&^to.done == 0 {
		return
	}
	for i := range to.slots {
		if l := &to.slots[i]; l.phase == off {
			l.run = run{
				phase: disconnected, number: number, generation: to.generation, owns: true, settles: to.changing, unsettled: w.unsettled,
			}
			if !x.unflagged {
				w.unsettled = true
			}
			x.add(progress, "acquire", to)
			return
		}
	}
}

// expire: reapSQL. The lease of a run may end at any time, without its notice.
func (x *stepper) expire(number uint8) {
	to := x.from
	if to.workers[number].dead {
		to.workers[number].dead = false
		x.add(progress, "lease of a dead owner ends", to)
		return
	}
	for i := range to.slots {
		if l := &to.slots[i]; l.owns && l.number == number && to.expiries+1 < slots {
			l.owns = false
			to.expiries++
			x.add(fault, "lease ends", to)
			return
		}
	}
}

// change: switchGeneration.
func (x *stepper) change() {
	to := x.from
	if !to.changing {
		return
	}
	for number := range x.workers[to.generation] {
		if to.owned(number) || to.unfinished(number) && !x.openIgnored {
			return
		}
	}
	to.generation, to.changing = 1, false
	for number := range to.workers {
		to.workers[number].unsettled, to.workers[number].dead = false, false
	}
	for i := range to.slots {
		to.slots[i].owns = false
	}
	x.add(progress, "next generation", to)
}
