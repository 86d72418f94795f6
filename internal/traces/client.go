package traces

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// client posts requests to the collector.
type client struct {
	settings Settings
	http     *http.Client
	resource *resourcepb.Resource
}

var errCertificate = errors.New("no certificate in the file")

func newClient(settings Settings) (*client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}
	if settings.Certificate != "" {
		pem, err := os.ReadFile(settings.Certificate)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", errCertificate)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	}
	resource := &resourcepb.Resource{}
	for _, name := range slices.Sorted(maps.Keys(settings.Resource)) {
		resource.Attributes = append(resource.Attributes, text(name, settings.Resource[name]))
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the headers may hold a secret
	return &client{settings, &http.Client{Transport: transport, Timeout: settings.Timeout, CheckRedirect: stay}, resource}, nil
}

func (c *client) encode(list []*tracepb.Span) ([]byte, error) {
	body, err := proto.Marshal(&collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: c.resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "modulo"}, Spans: list}},
	}}})
	if err != nil || !c.settings.Compress {
		return body, err
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err = zip.Write(body)
	err = errors.Join(err, zip.Close())
	return packed.Bytes(), err
}

// post sends a request once. Beside an error, again is after how long the collector wants to be asked again, negative for
// never (OTLP 1.x, "Failures").
func (c *client) post(ctx context.Context, body []byte) (again time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.settings.Endpoint, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	for name, value := range c.settings.Headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	if c.settings.Compress {
		request.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := c.http.Do(request)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = fmt.Errorf("post to %s: %w", request.URL.Host, failed.Err) // the query may hold a secret
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }() // nothing of it matters
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	switch answer.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // absent or a date: our own pause
		return time.Duration(max(0, seconds)) * time.Second, fmt.Errorf("collector answers %s", answer.Status)
	}
	return -1, fmt.Errorf("collector answers %s", answer.Status)
}

// maxAnswer is how much of an answer is read, so that its connection can be used again.
const maxAnswer = 64 << 10
