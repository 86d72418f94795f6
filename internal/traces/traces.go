// Package traces sends a trace of each batch to an OpenTelemetry collector, by OTLP over HTTP. A batch is a span with the fetch, each
// send and the mark as its children; a send links to the traces that its rows come from, whose contexts pass through
// unchanged. A collector that is slow, wrong or gone costs spans, never a row.
//
// It does not stand on the OpenTelemetry SDK, which would bring gRPC and seventeen modules into a binary that traces for
// few: what is needed of it is this package and the generated messages of the protocol.
package traces

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"modulo/jobs"
)

const (
	maxQueued  = 2048 // spans that wait; more are dropped
	maxSent    = 512  // spans of a request
	sendEvery  = 2 * time.Second
	attempts   = 4 // for a request that can be repeated
	firstPause = time.Second
	maxPause   = 10 * time.Second
	// farewell is how long the spans of a stop may take.
	farewell = time.Second
)

// Exporter is a jobs.Tracer. Batch is safe for concurrent use.
type Exporter struct {
	settings Settings
	log      zerolog.Logger
	client   *client
	queue    chan []*tracepb.Span // of a batch each
	queued   atomic.Int64         // spans in queue
	sent     atomic.Uint64
	dropped  atomic.Uint64
}

var _ jobs.Tracer = (*Exporter)(nil)

// New returns an exporter that sends nothing before Run. Its error is a setting that cannot work.
func New(settings Settings, log zerolog.Logger) (*Exporter, error) {
	c, err := newClient(settings)
	if err != nil {
		return nil, err
	}
	return &Exporter{settings: settings, log: log, client: c, queue: make(chan []*tracepb.Span, maxQueued)}, nil
}

// Counts returns how many spans the collector has taken, and how many it has not.
func (e *Exporter) Counts() (sent, dropped uint64) { return e.sent.Load(), e.dropped.Load() }

// Batch implements jobs.Tracer: it never waits.
func (e *Exporter) Batch(w jobs.WorkerID, trace *jobs.BatchTrace) {
	if e.settings.Ratio < 1 && rand.Float64() >= e.settings.Ratio {
		return
	}
	list := spans(w, trace)
	if e.queued.Add(int64(len(list))) <= maxQueued {
		select {
		case e.queue <- list:
			return
		default:
		}
	}
	e.queued.Add(-int64(len(list)))
	e.dropped.Add(uint64(len(list)))
}

// Run sends what is told until ctx ends, and then, for a second at most, what is left.
func (e *Exporter) Run(ctx context.Context) {
	defer e.client.http.CloseIdleConnections()
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	sending, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(farewell, cut) })()
	var batch []*tracepb.Span
	failing := false
	send := func() {
		if len(batch) == 0 {
			return
		}
		err := e.send(sending, batch)
		if err != nil && !failing {
			e.log.Warn().Err(err).Int("spans", len(batch)).Msg("traces are dropped; rows are not affected")
		} else if err == nil && failing {
			e.log.Info().Msg("traces are sent again")
		}
		failing = err != nil
		batch = nil
	}
	for {
		select {
		case list := <-e.queue:
			e.queued.Add(-int64(len(list)))
			if batch = append(batch, list...); len(batch) >= maxSent && ctx.Err() == nil {
				send()
			}
			continue
		case <-tick.C:
			send()
			continue
		case <-ctx.Done():
		}
		for left := len(e.queue); left > 0; left-- {
			batch = append(batch, <-e.queue...)
		}
		send()
		return
	}
}

// send hands spans to the collector; a request that it may take later is repeated after a pause.
func (e *Exporter) send(ctx context.Context, list []*tracepb.Span) error {
	body, err := e.client.encode(list)
	pause := firstPause
	for try := 1; err == nil; try++ {
		var again time.Duration
		if again, err = e.client.post(ctx, body); err == nil {
			e.sent.Add(uint64(len(list)))
			return nil
		}
		if again < 0 || try == attempts {
			break
		}
		timer := time.NewTimer(min(max(again, pause), maxPause))
		select {
		case <-timer.C:
			err = nil
		case <-ctx.Done():
			timer.Stop()
		}
		pause *= 2
	}
	e.dropped.Add(uint64(len(list)))
	return err
}
