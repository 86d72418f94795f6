package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"modulo/internal/operations"
)

// ask sends a request to a service, as user:password if that is not empty.
func (b *background) ask(method, path, user, body string) (code int, answer string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.address()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if name, password, ok := strings.Cut(user, ":"); ok {
		r.SetBasicAuth(name, password)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestSiteWithLogin: behind a prefix and a login everything but probes and metrics, and only for those who may.
func TestSiteWithLogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("pw"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := write(t, "users", "ann:"+string(hash)+":write\nbob:"+string(hash)+"\n")
	config := write(t, "modulo.yaml", "http: {prefix: /ops/modulo, users_file: "+users+"}\njobs: {outbox: {every: 50ms}}\n")
	running := f.start("run", "--config", config, "--http", "127.0.0.1:0")
	running.awaitReadiness(http.StatusOK)
	f.exec("insert into modulo.outbox (destination, payload) select $1, 'x' from generate_series(1, 100)", f.queue)
	for _, test := range []struct {
		method, path, user string
		want               int
	}{
		{"GET", "/livez", "", 200},
		{"GET", "/metrics", "", 200},
		{"GET", "/ops/modulo/api/v1/overview", "", 401},
		{"GET", "/ops/modulo/api/v1/overview", "bob:wrong", 401},
		{"GET", "/ops/modulo/api/v1/overview", "bob:pw", 200},
		{"POST", "/ops/modulo/api/v1/jobs/outbox/pause", "bob:pw", 403},
		{"POST", "/ops/modulo/api/v1/jobs/outbox/resume", "ann:pw", 200},
		{"GET", "/ops/modulo/api/v1/openapi.yaml", "bob:pw", 200},
		{"GET", "/ops/modulo/api/v1", "bob:pw", 404},
		{"GET", "/api/v1/overview", "ann:pw", 404},
	} {
		if code, body := running.ask(test.method, test.path, test.user, ""); code != test.want {
			t.Errorf("%s %s as %q: %d, want %d: %s", test.method, test.path, test.user, code, test.want, body)
		}
	}
	// What the owner of the workers tells is seen by everybody who asks, by command too.
	var jobs []operations.Job
	await(t, "progress", func() bool {
		if err := json.Unmarshal([]byte(f.ok("status", "-o", "json")), &jobs); err != nil {
			t.Fatal(err)
		}
		return jobs[0].Done == 100 && jobs[0].PassAt != nil && jobs[0].ProgressAt != nil
	})
	running.end()
	if audit := f.ok("audit"); !strings.Contains(audit, "ann") || strings.Contains(audit, "bob") {
		t.Errorf("audit:\n%s", audit)
	}
	f.taken(f.queue)
}

// TestOpenSite: beyond this machine nobody changes anything without a login, and asking for that is refused.
func TestOpenSite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, open := range []string{"read_only: false", "payloads: true"} {
		f.refuses(exitUsage, []string{"http.users_file"}, "run", "--http", "0.0.0.0:0", "--config", write(t, "modulo.yaml", "http: {"+open+"}"))
	}
	f.refuses(exitUsage, []string{"http.prefix"}, "run", "--config", write(t, "modulo.yaml", "http: {prefix: modulo/}"))
	f.refuses(exitUsage, []string{"no such file"}, "run", "--config", write(t, "modulo.yaml", "http: {users_file: /nowhere/users}"))
	running := f.start("run", "--http", "0.0.0.0:0")
	running.awaitLog(`"changes":false`)
	running.end()
}
