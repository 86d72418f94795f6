package jobs

import "slices"

// suspects are the messages under way when a connection was lost. Mostly the connection was the cause; but a broker
// may also drop it, without a word, because of one message. So what failed is tried as a whole once more, then in
// halves, and a single message is set aside until all else is sent; see Worker.tryAside. An outage alone blames no
// message, and a suspect stops nobody.
type suspects struct {
	ids     []int64 // sorted
	strikes int     // connections lost over them
}

// add narrows the suspicion to these messages.
func (s *suspects) add(messages []Message) {
	ids := make([]int64, len(messages))
	for i, m := range messages {
		ids[i] = m.RowID
	}
	slices.Sort(ids)
	if s.has(ids[0]) && s.has(ids[len(ids)-1]) {
		s.strikes++
	} else {
		s.strikes = 1
	}
	s.ids = ids
}

func (s *suspects) clear() { *s = suspects{} }

func (s *suspects) has(id int64) bool {
	_, found := slices.BinarySearch(s.ids, id)
	return found
}

func (s *suspects) hasMessage(m Message) bool { return s.has(m.RowID) }

// single returns the one message that is left of the suspects after a second try.
func (s *suspects) single() (id int64, ok bool) {
	if s.strikes >= 2 && len(s.ids) == 1 {
		return s.ids[0], true
	}
	return 0, false
}

// split cuts messages into the parts to publish, in order: as they are where nothing is suspect.
func (s *suspects) split(messages []Message) [][]Message {
	if s.strikes == 0 {
		return [][]Message{messages}
	}
	first := slices.IndexFunc(messages, s.hasMessage)
	if first < 0 {
		return [][]Message{messages}
	}
	end := first + 1
	for i := end; i < len(messages); i++ {
		if s.hasMessage(messages[i]) {
			end = i + 1
		}
	}
	parts := [][]Message{messages[:first], messages[first:end], messages[end:]}
	if s.strikes >= 2 {
		half := first + (end-first+1)/2
		parts = [][]Message{messages[:first], messages[first:half], messages[half:end], messages[end:]}
	}
	return slices.DeleteFunc(parts, func(part []Message) bool { return len(part) == 0 })
}
