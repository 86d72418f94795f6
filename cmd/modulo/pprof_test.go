package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"modulo/internal/config"
)

// TestPprof: profiles are off unless wanted, and only for callers on this machine.
func TestPprof(t *testing.T) {
	t.Parallel()
	rest := http.NotFoundHandler()
	wanted := withPprof(&config.Config{HTTP: config.HTTP{Pprof: true}}, rest)
	for _, test := range []struct {
		name, path, remote, host, header string
		handler                          http.Handler
		want                             int
	}{
		{"off", "/debug/pprof/heap", "127.0.0.1:4711", "127.0.0.1:8080", "", withPprof(&config.Config{}, rest), http.StatusNotFound},
		{"index", "/debug/pprof/", "127.0.0.1:4711", "127.0.0.1:8080", "", wanted, http.StatusOK},
		{"heap", "/debug/pprof/heap", "127.0.0.1:4711", "localhost:8080", "", wanted, http.StatusOK},
		{"IPv6", "/debug/pprof/heap", "[::1]:4711", "[::1]:8080", "", wanted, http.StatusOK},
		{"arguments", "/debug/pprof/cmdline", "127.0.0.1:4711", "127.0.0.1:8080", "", wanted, http.StatusNotFound},
		{"from elsewhere", "/debug/pprof/heap", "192.0.2.1:4711", "127.0.0.1:8080", "", wanted, http.StatusForbidden},
		{"through a proxy", "/debug/pprof/heap", "127.0.0.1:4711", "127.0.0.1:8080", "X-Forwarded-For", wanted, http.StatusForbidden},
		{"through a cache", "/debug/pprof/heap", "127.0.0.1:4711", "127.0.0.1:8080", "Via", wanted, http.StatusForbidden},
		{"from a page with a name of its own", "/debug/pprof/heap", "127.0.0.1:4711", "evil.example:8080", "", wanted, http.StatusForbidden},
		{"something else", "/metrics", "192.0.2.1:4711", "127.0.0.1:8080", "", wanted, http.StatusNotFound},
	} {
		request := httptest.NewRequest(http.MethodGet, test.path, nil)
		request.RemoteAddr, request.Host = test.remote, test.host
		if test.header != "" {
			request.Header.Set(test.header, "192.0.2.1")
		}
		recorder := httptest.NewRecorder()
		test.handler.ServeHTTP(recorder, request)
		if recorder.Code != test.want {
			t.Errorf("%s: %d, want %d", test.name, recorder.Code, test.want)
		}
	}
}

// TestConfigCommand: the configuration in force is printed without any secret.
func TestConfigCommand(t *testing.T) {
	t.Parallel()
	s := shell{t: t, env: map[string]string{"DATABASE_URL": "postgres://app:hidden-1@db/app", "MODULO_BROKER_URL": "stomp://a:hidden-2@mq1,stomp://b:hidden-3@mq2"},
		secrets: []string{"hidden-"}}
	file := write(t, "modulo.yaml", "broker: {username: app, password: hidden-4}\njobs: {outbox: {batch: 7}}\n")
	text := s.ok("config", "--config", file)
	for _, part := range []string{"postgres://app:********@db/app", "stomp://a:********@mq1,stomp://b:********@mq2", `password: '********'`, "batch: 7", "table: modulo.outbox", "every: 500ms"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
	s.refuses(exitUsage, []string{"database.max_conns"}, "config", "--config", write(t, "modulo.yaml", "database: {max_conns: 1}"))
}
