package operations

import (
	"testing"
	"time"
)

// TestHistoryGap: a steady rate stays steady in the chart, though nothing could be read for ten minutes, or for hours.
func TestHistoryGap(t *testing.T) {
	t.Parallel()
	var h history
	begin := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, 10 * time.Second, 610 * time.Second, 620 * time.Second} {
		h.add(Overview{At: begin.Add(after), Jobs: []Job{{Job: "a", Done: 100 * int64(after.Seconds())}}})
	}
	points := h.points["a"]
	if len(points) != 62 {
		t.Errorf("%d points, want 62", len(points))
	}
	for n, p := range points {
		if want := begin.Add(time.Duration(n+1) * HistoryStep); p.Done != 1000 || !p.At.Equal(want) {
			t.Errorf("point %d: %d rows at %s, want 1000 at %s", n, p.Done, p.At, want)
		}
	}
	h.add(Overview{At: begin.Add(5 * time.Hour), Jobs: []Job{{Job: "a", Done: 100 * 5 * 3600}}})
	if points = h.points["a"]; len(points) != historyLen || points[0].Done != 1000 {
		t.Errorf("%d points, the first of %d rows", len(points), points[0].Done)
	}
}
