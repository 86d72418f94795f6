package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector is an OTLP receiver. It keeps the names of spans, and the contexts that they link to.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	names  map[string]int
	linked map[string]bool // as in "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
}

func startCollector(t *testing.T) *collector {
	c := &collector{names: map[string]int{}, linked: map[string]bool{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collectorpb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil {
			t.Error(err)
		}
		c.take(&request)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) take(request *collectorpb.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range request.ResourceSpans[0].ScopeSpans[0].Spans {
		c.names[s.Name]++
		for _, l := range s.Links {
			c.linked[hex.EncodeToString(l.TraceId)+"-"+hex.EncodeToString(l.SpanId)] = true
		}
	}
}

// TestTraces: the sends of batches link to the traces of their rows, whose contexts arrive unchanged; and rows flow all the
// same where the collector is gone.
func TestTraces(t *testing.T) {
	t.Parallel()
	const rows = 100
	f, c := newFixture(t), startCollector(t)
	insert := func() {
		f.exec(`insert into modulo.outbox (destination, payload, headers)
			select $1, n, jsonb_build_object('traceparent', format('00-%s-00f067aa0ba902b7-00', md5(n::text))) from generate_series(1, $2::int) as n`, f.queue, rows)
	}
	insert()
	f.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.URL
	running := f.start("run", "--workers", "2", "--every", "20ms", "--traces", "otlp", "--http", "127.0.0.1:0")
	f.drained()
	if running.end() != 0 { // what is left is sent
		t.Errorf("exit code %d", running.code)
	}
	contexts := map[string]bool{}
	for _, header := range headers(f.taken(f.queue), "traceparent") {
		if len(header) != 55 || header[:3] != "00-" || header[52:] != "-00" {
			t.Errorf("traceparent %q", header)
			continue
		}
		contexts[header[3:52]] = true
	}
	if len(contexts) != rows || fmt.Sprint(contexts) != fmt.Sprint(c.linked) {
		t.Errorf("%d contexts arrived, %d are linked to, of %d", len(contexts), len(c.linked), rows)
	}
	if n := c.names["batch outbox"]; n < 2 || c.names["fetch outbox"] != n || c.names["send outbox"] != n || c.names["mark outbox"] != n {
		t.Errorf("spans: %v", c.names)
	}

	c.Close()
	insert()
	running = f.start("run", "--every", "20ms", "--traces", "otlp", "--http", "127.0.0.1:0")
	f.drained()
	running.awaitLog("traces are dropped")
	await(t, "dropped spans", func() bool { return running.metrics()[`modulo_trace_spans_total{result="dropped"}`] > 0 })

	f.refuses(exitUsage, []string{"traces", "otlp or off"}, "run", "--traces", "zipkin")
	f.env["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
	f.refuses(exitUsage, []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"}, "run", "--traces", "otlp")
}
