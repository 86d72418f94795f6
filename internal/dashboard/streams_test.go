package dashboard_test

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// eachStreams is how many open pages one visitor may have.
const eachStreams = 50

// TestManyStreams: one visitor cannot have all streams; others still get theirs, and so does the visitor who has left some.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run("jobs: {outbox: {workers: 1}}")
	open := func(ctx context.Context, address string) int {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.site+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/event-stream")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() }) // until then it is open
		return response.StatusCode
	}
	ctx, leave := context.WithCancel(s.ctx)
	for n := range eachStreams {
		if code := open(ctx, "127.0.0.1"); code != http.StatusOK {
			t.Fatalf("stream %d: %d", n+1, code)
		}
	}
	if code := open(ctx, "127.0.0.1"); code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", code)
	}
	if code := open(ctx, "127.0.0.2"); code != http.StatusOK {
		t.Errorf("somebody else: %d", code)
	}
	leave()
	s.await("room for new streams", func() bool { return open(s.ctx, "127.0.0.1") == http.StatusOK })
}
