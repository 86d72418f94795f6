package traces

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"modulo/jobs"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// collector takes requests as a real one does.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*collectorpb.ExportTraceServiceRequest
	headers  []http.Header
	answers  []int // codes of the next answers; then 200
}

func startCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(c.take(t, r)) }))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) take(t *testing.T, r *http.Request) int {
	body := r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(r.Body); err != nil {
			t.Error(err)
		}
	}
	text, err := io.ReadAll(body)
	request := &collectorpb.ExportTraceServiceRequest{}
	if err := errors.Join(err, proto.Unmarshal(text, request)); err != nil || r.URL.Path != "/v1/traces" || r.Method != http.MethodPost {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) > 0 {
		code := c.answers[0]
		c.answers = c.answers[1:]
		return code
	}
	c.requests, c.headers = append(c.requests, request), append(c.headers, r.Header)
	return http.StatusOK
}

// spans are all that have arrived.
func (c *collector) spans() (all []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, request := range c.requests {
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				all = append(all, scope.Spans...)
			}
		}
	}
	return all
}

// export runs an exporter with these variables while it is told something, and to its end.
func export(t *testing.T, variables map[string]string, tell func(e *Exporter)) *Exporter {
	t.Helper()
	settings, err := FromEnvironment(func(name string) (string, bool) { value, ok := variables[name]; return value, ok }, "v1")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(settings, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	tell(e)
	stop()
	running.Wait()
	return e
}

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

var worker = jobs.WorkerID{Job: "orders", Number: 3}

// batch is one of two rows, the first of which was traced by who wrote it.
func batch() *jobs.BatchTrace {
	began := time.Unix(1000, 0)
	return &jobs.BatchTrace{Rows: 2, Spans: []jobs.Span{
		{Step: jobs.StepFetch, Began: began, Ended: began.Add(1), Rows: 2},
		{
			Step: jobs.StepPublish, Began: began.Add(2), Ended: began.Add(5), Rows: 2, Destination: "/queue/a", Unlinked: 9,
			Links: []jobs.TraceContext{{Parent: parent, State: "vendor=1"}, {Parent: "no context"}},
		},
		{
			Step: jobs.StepPublish, Began: began.Add(6), Ended: began.Add(7), Rows: 1,
			Err: &jobs.PublishError{Fault: jobs.FaultConnection, Err: errors.New("secret")},
		},
		{Step: jobs.StepMark, Began: began.Add(7), Ended: began.Add(9), Rows: 2},
	}}
}

func attribute(list []*commonpb.KeyValue, name string) any {
	for _, a := range list {
		if a.Key == name {
			switch value := a.Value.Value.(type) {
			case *commonpb.AnyValue_StringValue:
				return value.StringValue
			case *commonpb.AnyValue_IntValue:
				return value.IntValue
			}
		}
	}
	return nil
}

// TestBatch: a batch arrives as a span with its steps below it, and the send links to the traces of its rows.
func TestBatch(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	e := export(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b,tenant=7", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test,service.name=other", "OTEL_SERVICE_NAME": "drain",
	}, func(e *Exporter) { e.Batch(worker, batch()) })
	if sent, dropped := e.Counts(); sent != 5 || dropped != 0 {
		t.Fatalf("%d sent, %d dropped", sent, dropped)
	}
	resource := c.requests[0].ResourceSpans[0].Resource.Attributes
	if attribute(resource, "service.name") != "drain" || attribute(resource, "service.version") != "v1" || attribute(resource, "deployment.environment") != "test" {
		t.Errorf("resource: %v", resource)
	}
	if h := c.headers[0]; h.Get("api-key") != "a b" || h.Get("tenant") != "7" || h.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("headers: %v", h)
	}
	list := c.spans()
	whole, send, failed := list[0], list[2], list[3]
	if whole.Name != "batch orders" || attribute(whole.Attributes, "modulo.worker") != int64(3) || whole.ParentSpanId != nil ||
		whole.EndTimeUnixNano-whole.StartTimeUnixNano != 9 || whole.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("batch: %v", whole)
	}
	for i, name := range []string{"batch orders", "fetch orders", "send orders", "send orders", "mark orders"} {
		s := list[i]
		if s.Name != name || string(s.TraceId) != string(whole.TraceId) || i > 0 && string(s.ParentSpanId) != string(whole.SpanId) ||
			len(s.SpanId) != 8 || len(s.TraceId) != 16 || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("span %d: %v", i, s)
		}
		if strings.Contains(s.String(), "secret") {
			t.Errorf("span %d has the text of an error: %v", i, s)
		}
	}
	if attribute(send.Attributes, "messaging.destination.name") != "/queue/a" || attribute(send.Attributes, "messaging.batch.message_count") != int64(2) ||
		len(send.Links) != 1 || send.DroppedLinksCount != 9 {
		t.Fatalf("send: %v", send)
	}
	if l := send.Links[0]; hex.EncodeToString(l.TraceId)+hex.EncodeToString(l.SpanId) != "4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7" || l.TraceState != "vendor=1" || l.Flags != 1 {
		t.Errorf("link: %v", l)
	}
	if attribute(failed.Attributes, "error.type") != "connection" || attribute(failed.Attributes, "messaging.destination.name") != nil {
		t.Errorf("failed send: %v", failed)
	}
}

// TestBadCollectors: whatever the collector does, telling takes no time, memory is bounded, and the end comes soon.
func TestBadCollectors(t *testing.T) {
	t.Parallel()
	hangs, release := make(chan struct{}, 1), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case hangs <- struct{}{}:
		default:
		}
		<-release
	}))
	t.Cleanup(func() { close(release); silent.Close() })
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	refusing := startCollector(t)
	refusing.answers = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusTemporaryRedirect, http.StatusInternalServerError}
	for name, address := range map[string]string{"silent": silent.URL, "gone": gone.URL, "refusing": refusing.URL} {
		t.Run(name, func(t *testing.T) {
			slow := 0
			e := export(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": address}, func(e *Exporter) {
				for range 3 * maxQueued {
					began := time.Now()
					e.Batch(worker, batch())
					if time.Since(began) > time.Second {
						slow++
					}
				}
				if name == "silent" {
					<-hangs
				}
				if n := e.queued.Load(); n > maxQueued {
					t.Errorf("%d spans wait, the limit is %d", n, maxQueued)
				}
			})
			sent, dropped := e.Counts()
			if name != "refusing" && sent != 0 || sent+dropped != 3*maxQueued*5 {
				t.Errorf("%d sent, %d dropped, of %d", sent, dropped, 3*maxQueued*5)
			}
			if slow > maxQueued/100 { // never the time of a request, but the machine may stop now and then
				t.Errorf("telling took more than a second %d times", slow)
			}
		})
	}
}

// TestErrorsKeepSecrets: the URL of a collector may have a key in its query, and errors end up in the log.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	c, err := newClient(Settings{Endpoint: "http://127.0.0.1:1/v1/traces?key=s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.post(t.Context(), nil); err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
}

// TestRetry: a request that the collector may take later is sent again; one that it refuses is not.
func TestRetry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code int
		sent uint64
	}{{http.StatusServiceUnavailable, 5}, {http.StatusBadRequest, 0}} {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			t.Parallel()
			c := startCollector(t)
			c.answers = []int{test.code}
			variables := map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/v1/traces"}
			settings, err := FromEnvironment(func(name string) (string, bool) { value, ok := variables[name]; return value, ok }, "")
			if err != nil {
				t.Fatal(err)
			}
			e, err := New(settings, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			defer e.client.http.CloseIdleConnections()
			err = e.send(t.Context(), spans(worker, batch()))
			if sent, dropped := e.Counts(); sent != test.sent || dropped != 5-test.sent || (err == nil) != (sent > 0) {
				t.Errorf("%d sent, %d dropped, %v", sent, dropped, err)
			}
		})
	}
}

func TestSampling(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	for ratio, want := range map[string]func(n uint64) bool{
		"0": func(n uint64) bool { return n == 0 }, "1": func(n uint64) bool { return n == 200 },
		"0.5": func(n uint64) bool { return n > 20 && n < 180 },
	} {
		e := export(t, map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio,
		}, func(e *Exporter) {
			for range 200 {
				e.Batch(worker, batch())
			}
		})
		if sent, dropped := e.Counts(); dropped != 0 || !want(sent/5) {
			t.Errorf("ratio %s: %d of 200 sent, %d dropped", ratio, sent/5, dropped)
		}
	}
}

// TestSettings: what is not understood is an error that names the variable, and not its value.
func TestSettings(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:secret", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://secret", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc-secret",
		"OTEL_EXPORTER_OTLP_HEADERS": "secret", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=%secret", "OTEL_EXPORTER_OTLP_TIMEOUT": "secret",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "secret", "OTEL_TRACES_SAMPLER": "secret", "OTEL_RESOURCE_ATTRIBUTES": "secret",
	} {
		_, err := FromEnvironment(func(variable string) (string, bool) { return value, variable == name }, "")
		if err == nil || !strings.Contains(err.Error(), name+": want") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := FromEnvironment(func(string) (string, bool) { return "", false }, "v1")
	if err != nil || s.Endpoint != "http://localhost:4318/v1/traces" || s.Timeout != 10*time.Second || s.Ratio != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := New(Settings{Certificate: "/nowhere"}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_CERTIFICATE") {
		t.Errorf("certificate: %v", err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		parent: true, "01" + parent[2:] + "-more": true, parent[:53] + "00": true,
		"": false, parent + "-x": false, parent + "x": false, "ff" + parent[2:]: false, strings.ToUpper(parent): false, parent[:54]: false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false, "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"0x" + parent[2:]: false,
	} {
		if _, _, _, ok := parse(text); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}

// FuzzParse: what is taken for a context can be written again as it was, up to its first 55 characters.
func FuzzParse(f *testing.F) {
	f.Add(parent)
	f.Add("01" + parent[2:] + "-more")
	f.Fuzz(func(t *testing.T, text string) {
		traceID, spanID, flags, ok := parse(text)
		if ok && !strings.HasPrefix(text[2:], fmt.Sprintf("-%x-%x-%02x", traceID, spanID, flags)) {
			t.Errorf("%q was read as %x %x %x", text, traceID, spanID, flags)
		}
	})
}
