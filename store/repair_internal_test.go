package store

import "testing"

// TestMayRepair: an entry of the audit tells whether a row was, was not, or may have been among those of a repair.
func TestMayRepair(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action Action
		filter FailureFilter
		want   bool
	}{
		{ActionRetry, FailureFilter{IDs: []int64{7}}, false}, // by its number alone
		{ActionRetry, FailureFilter{IDs: []int64{6, 7}}, true},
		{ActionRetry, FailureFilter{IDs: []int64{70, 17}}, false},
		{ActionDiscard, FailureFilter{IDs: []int64{6, 7}, Class: "refused"}, true},
		{ActionDiscard, FailureFilter{IDs: []int64{6, 8}, Class: "refused"}, false},
		{ActionRetry, FailureFilter{Class: "refused"}, true},
		{ActionRetry, FailureFilter{}, true},
		{ActionPause, FailureFilter{}, false},
	} {
		if got := MayRepair(c.action, c.filter.describe(), 7); got != c.want {
			t.Errorf("%s of %s: %v, want %v", c.action, c.filter.describe(), got, c.want)
		}
	}
}
