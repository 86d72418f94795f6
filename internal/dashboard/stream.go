package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"modulo/internal/guard"
)

const (
	// maxStreams bounds what open pages may cost, and maxStreamsEach those of one user or address, so that nobody has all of
	// them; whoever comes later has to reload by hand.
	maxStreams     = 200
	maxStreamsEach = 50
	// beatEvery is how often a stream says something at least, so that a cut connection is noticed.
	beatEvery = 10 * time.Second
	// streamLife is when a stream ends by itself and the page asks anew, with its rights checked anew.
	streamLife = 15 * time.Minute
	// writeLimit is how long one event may take: whoever reads slower is cut off.
	writeLimit = 10 * time.Second
)

// stream keeps the regions of a page up to date by server-sent events, until the reader goes or the server stops.
func (d *Dashboard) stream(w http.ResponseWriter, r *http.Request, s screen) {
	leave, ok := d.streaming.enter(guard.VisitorOf(r.Context()).Name)
	if !ok {
		http.Error(w, "too many open pages", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // of nginx
	out := &events{w: w, control: http.NewResponseController(w), sent: map[string]string{}}
	if err := out.begin(); err != nil {
		http.Error(w, "no stream", http.StatusInternalServerError)
		return
	}
	until := time.Now().Add(streamLife)
	for time.Now().Before(until) {
		if err := d.update(out, r, s); err != nil {
			return // the reader is gone
		}
		select {
		case <-r.Context().Done():
			return
		case <-d.closing:
			_ = out.write("event: gone\ndata: 1\n\n") // who does not hear it finds out
			return
		case <-time.After(untilRefresh(time.Now())):
		}
	}
}

// streaming counts open streams. Safe for concurrent use.
type streaming struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by visitor
}

// enter counts one more until leave is called, unless there are too many.
func (s *streaming) enter(visitor string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStreams || s.of[visitor] >= maxStreamsEach {
		return nil, false
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.all++
	s.of[visitor]++
	return func() { s.leave(visitor) }, true
}

func (s *streaming) leave(visitor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[visitor]--; s.of[visitor] == 0 {
		delete(s.of, visitor)
	}
}

// untilRefresh makes all streams look at the same moments.
func untilRefresh(now time.Time) time.Duration { return now.Truncate(refresh).Add(refresh).Sub(now) }

// update sends the regions that have changed. What cannot be read now may be there the next time; until then the page says
// that it is old.
func (d *Dashboard) update(out *events, r *http.Request, s screen) error {
	f, err := d.frame(r, s)
	if err != nil {
		return out.stale()
	}
	for _, region := range s.regions {
		html, err := d.render.region(s.file, region, f)
		if err != nil {
			d.log(err, "dashboard: a region cannot be shown")
			continue
		}
		if err := out.changed(region, string(html)); err != nil {
			return err
		}
	}
	return out.beat()
}

// events writes server-sent events.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    map[string]string // what each region last showed
	last    time.Time
	old     bool // the page was told that what it shows is old
}

// begin lifts the server's limits for a whole answer: each event has its own.
func (e *events) begin() error {
	if err := e.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return e.write(": begin\n\n")
}

func (e *events) changed(region, html string) error {
	if e.sent[region] == html {
		return nil
	}
	e.sent[region] = html
	quoted, err := json.Marshal(html)
	if err != nil {
		return err
	}
	return e.write(fmt.Sprintf("event: %s\ndata: %s\n\n", region, quoted))
}

// beat says that what the page shows is so now.
func (e *events) beat() error {
	if !e.old && time.Since(e.last) < beatEvery {
		return nil
	}
	e.old = false
	return e.write("event: beat\ndata: 1\n\n")
}

// stale says that there was no answer, and what the page shows is old.
func (e *events) stale() error {
	if e.old && time.Since(e.last) < beatEvery {
		return nil
	}
	e.old = true
	return e.write("event: stale\ndata: 1\n\n")
}

func (e *events) write(text string) error {
	e.last = time.Now()
	if err := e.control.SetWriteDeadline(e.last.Add(writeLimit)); err != nil {
		return err
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.control.Flush()
}
