package jobs

import "testing"

// What a tick does with a worker, by where it stands, what its last owner left and what becomes of its job.
func TestDecide(t *testing.T) {
	t.Parallel()
	kept, back := Owned{}, Owned{GiveBack: true}
	open := Owned{GiveBack: true, Open: true, Rest: Rest{Unsettled: true}}
	settled := Owned{GiveBack: true, Open: true}
	unrecorded := Owned{GiveBack: true, Rest: Rest{Unsettled: true}}
	atRest, paused, changing, held := JobState{}, JobState{Paused: true}, JobState{Next: 2}, JobState{Hold: true}
	for _, c := range []struct {
		name            string
		state           JobState
		worker          Owned
		stopping, moved bool
		want            [4]action // by phase: none, running, settling, ended
	}{
		{"a worker to run", atRest, kept, false, false, [4]action{actionStart, actionNone, actionNone, actionStart}},
		{"a paused job", paused, kept, false, false, [4]action{actionNone, actionStop, actionNone, actionNone}},
		{"the service stops", atRest, kept, true, false, [4]action{actionNone, actionStop, actionNone, actionNone}},
		{"given back", atRest, back, false, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"given back, paused", paused, back, false, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"given back by a stop", atRest, back, true, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"a change, unsettled", changing, open, false, false, [4]action{actionStart, actionStop, actionNone, actionRelease}},
		{"a change, settled", changing, settled, false, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"a change, no record", changing, unrecorded, false, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"a change, unsettled, a stop", changing, open, true, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"a change, unsettled, held", JobState{Next: 2, Hold: true}, open, false, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"no change, unsettled", atRest, open, false, false, [4]action{actionRelease, actionStop, actionNone, actionRelease}},
		{"held", held, kept, false, false, [4]action{actionRelease, actionNone, actionNone, actionStart}},
		{"held, paused", JobState{Hold: true, Paused: true}, kept, false, false, [4]action{actionNone, actionStop, actionNone, actionNone}},
		{"moved", held, kept, false, true, [4]action{actionRelease, actionStop, actionStop, actionStart}},
		{"moved, a change", changing, open, false, true, [4]action{actionStart, actionStop, actionStop, actionRelease}},
	} {
		for phase := phaseNone; phase <= phaseEnded; phase++ {
			if got := c.state.decide(c.worker, phase, c.stopping, c.moved); got != c.want[phase] {
				t.Errorf("%s, phase %d: action %d, want %d", c.name, phase, got, c.want[phase])
			}
		}
	}
}
