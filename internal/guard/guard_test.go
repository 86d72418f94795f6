package guard_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/crypto/bcrypt"

	"modulo/internal/guard"
)

// usersFile has ann, who may write, and bob, who may not; their passwords are their names twice.
func usersFile(t *testing.T, more ...string) string {
	t.Helper()
	hash := func(name string) string {
		h, err := bcrypt.GenerateFromPassword([]byte(name+name), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return string(h)
	}
	// As htpasswd -B writes it: $2y$ is what it calls the same thing.
	bob := strings.Replace(hash("bob"), "$2a$", "$2y$", 1)
	lines := append([]string{"# people", "ann:" + hash("ann") + ":write", "bob:" + bob}, more...)
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// visit asks a guard, with "Name: value" headers ("Host" and "User" are special), and returns status and answer: the
// visitor as the handler behind sees it, or the problem's detail.
func visit(t *testing.T, g *guard.Guard, method string, headers ...string) (int, string) {
	t.Helper()
	handler := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := guard.VisitorOf(r.Context())
		_, _ = io.WriteString(w, strings.Join([]string{v.Name, flag(v.Write, "writes"), flag(v.Payloads, "sees payloads")}, "|"))
	}))
	r := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:8080/x", nil)
	r.RemoteAddr = "10.0.0.9:1234"
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		switch name {
		case "Host":
			r.Host = value
		case "User":
			user, password, _ := strings.Cut(value, ":")
			r.SetBasicAuth(user, password)
		default:
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	for _, header := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"} {
		if w.Header().Get(header) == "" {
			t.Errorf("%s is missing", header)
		}
	}
	if (w.Code == http.StatusUnauthorized) != (w.Header().Get("WWW-Authenticate") != "") {
		t.Errorf("%d with WWW-Authenticate %q", w.Code, w.Header().Get("WWW-Authenticate"))
	}
	if w.Code == http.StatusOK {
		return w.Code, w.Body.String()
	}
	var p guard.Problem
	if err := json.NewDecoder(w.Body).Decode(&p); err != nil || p.Status != w.Code {
		t.Errorf("%d: problem %+v, %v", w.Code, p, err)
	}
	return w.Code, p.Detail
}

func flag(is bool, text string) string {
	if is {
		return text
	}
	return "-"
}

func newGuard(t *testing.T, cfg guard.Config) *guard.Guard {
	t.Helper()
	g, err := guard.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	users := usersFile(t)
	local, network := guard.Config{Loopback: true, Payloads: true}, guard.Config{}
	login := guard.Config{UsersFile: users, Payloads: true}
	for name, test := range map[string]struct {
		cfg     guard.Config
		method  string
		headers []string
		status  int
		answer  string
	}{
		"this machine reads":                {local, "GET", nil, 200, "anonymous from 10.0.0.9|writes|sees payloads"},
		"this machine writes":               {local, "POST", nil, 200, "anonymous from 10.0.0.9|writes"},
		"localhost by name":                 {local, "POST", []string{"Host: localhost:8080"}, 200, "writes"},
		"an address of IPv6":                {local, "POST", []string{"Host: [::1]:8080"}, 200, "writes"},
		"a name that was made to lead here": {local, "GET", []string{"Host: evil.example:8080"}, 421, "http.hosts"},
		"a name that is known":              {guard.Config{Loopback: true, Hosts: []string{"Ops.example"}}, "GET", []string{"Host: ops.example"}, 200, "|-|-"},
		"a name is not this machine":        {guard.Config{Loopback: true, Hosts: []string{"Ops.example"}}, "POST", []string{"Host: ops.example"}, 403, "need a login"},
		"a name that was meant":             {guard.Config{Loopback: true, Hosts: []string{"Ops.example"}, ReadOnly: new(bool)}, "POST", []string{"Host: ops.example"}, 200, "writes"},
		"through nginx":                     {local, "POST", []string{"X-Real-Ip: 1.2.3.4"}, 403, "need a login"},
		"through a cache":                   {local, "POST", []string{"Via: 1.1 cache"}, 403, "need a login"},
		"through a proxy that tells little": {local, "GET", []string{"X-Forwarded-Proto: https"}, 200, "|-|-"},
		"through a proxy reads":             {local, "GET", []string{"X-Forwarded-For: 1.2.3.4"}, 200, "|-|-"},
		"through a proxy writes":            {local, "POST", []string{"Forwarded: for=1.2.3.4"}, 403, "need a login"},
		"a proxy that was meant":            {guard.Config{Loopback: true, ReadOnly: new(bool)}, "POST", []string{"X-Forwarded-For: 1.2.3.4"}, 200, "writes"},
		"the network reads":                 {network, "GET", nil, 200, "|-|-"},
		"the network writes":                {network, "POST", nil, 403, "need a login"},
		"the network deletes":               {network, "DELETE", nil, 403, "need a login"},
		"read-only here":                    {guard.Config{Loopback: true, ReadOnly: new(true)}, "POST", nil, 403, "http.read_only is set"},
		"read-only with a login":            {guard.Config{UsersFile: users, ReadOnly: new(true)}, "PUT", []string{"User: ann:annann"}, 403, "http.read_only is set"},
		"nobody":                            {login, "GET", nil, 401, "log in"},
		"unknown":                           {login, "GET", []string{"User: eve:x"}, 401, "log in"},
		"wrong password":                    {login, "GET", []string{"User: ann:bobbob"}, 401, "log in"},
		"a password without end":            {login, "GET", []string{"User: ann:annann" + strings.Repeat("x", 100)}, 401, "log in"},
		"writer reads":                      {login, "GET", []string{"User: ann:annann", "Host: any.example"}, 200, "ann|writes|sees payloads"},
		"writer writes":                     {login, "POST", []string{"User: ann:annann"}, 200, "ann|writes"},
		"reader reads":                      {login, "HEAD", []string{"User: bob:bobbob"}, 200, "bob|-|sees payloads"},
		"reader writes":                     {login, "POST", []string{"User: bob:bobbob"}, 403, "lacks the role write"},
		"from another site":                 {login, "POST", []string{"User: ann:annann", "Sec-Fetch-Site: cross-site"}, 403, "another site"},
		"from another site, old browser":    {local, "POST", []string{"Origin: https://evil.example"}, 403, "another site"},
		"from this site":                    {local, "POST", []string{"Sec-Fetch-Site: same-origin"}, 200, "writes"},
		"another site reads":                {local, "GET", []string{"Sec-Fetch-Site: cross-site"}, 200, ""}, // it cannot see the answer
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, answer := visit(t, newGuard(t, test.cfg), test.method, test.headers...)
			if status != test.status || !strings.Contains(answer, test.answer) {
				t.Errorf("%d %q, want %d %q", status, answer, test.status, test.answer)
			}
		})
	}
}

// Whoever asks again is known without the cost of the hash; a wrong password never is.
func TestKnownAgain(t *testing.T) {
	t.Parallel()
	g := newGuard(t, guard.Config{UsersFile: usersFile(t)})
	for _, user := range []string{"ann:annann", "ann:annann", "ann:annan", "ann:annann", "anna:nnann"} {
		want := http.StatusOK
		if user != "ann:annann" {
			want = http.StatusUnauthorized
		}
		if status, _ := visit(t, g, "GET", "User: "+user); status != want {
			t.Errorf("%s: %d", user, status)
		}
	}
}

// The log is told who was refused, at most once a second, and never with what they typed.
func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	users := usersFile(t)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := newGuard(t, guard.Config{UsersFile: users, Log: zerolog.New(&log)})
		visit(t, g, "GET") // how a browser begins
		for range 3 {
			visit(t, g, "GET", "User: ann:secret")
		}
		time.Sleep(time.Second)
		visit(t, g, "POST", "User: bob:bobbob")
		told := log.String()
		for _, part := range []string{`"level":"warn","remote":"10.0.0.9:1234","method":"GET","path":"/x","status":401`, `"untold":2`, `"status":403`} {
			if !strings.Contains(told, part) {
				t.Errorf("no %s in:\n%s", part, told)
			}
		}
		if strings.Count(told, "\n") != 2 || strings.Contains(told, "secret") || strings.Contains(told, "bob") {
			t.Errorf("told:\n%s", told)
		}
	})
}

func TestOpenToTheNetwork(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]guard.Config{"writing": {ReadOnly: new(bool)}, "payloads": {Payloads: true}} {
		if _, err := guard.New(cfg); !errors.Is(err, guard.ErrOpen) {
			t.Errorf("%s beyond this machine without a login: %v", name, err)
		}
		cfg.UsersFile = usersFile(t)
		if g := newGuard(t, cfg); !g.LogIn() || !g.Writable() {
			t.Errorf("%s with a login: %+v", name, g)
		}
	}
}

// A users file that changes counts within two seconds; one that is wrong does not count, and the log says so once.
func TestUsersFileChanges(t *testing.T) {
	t.Parallel()
	file, other := usersFile(t), usersFile(t)
	right, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	onlyBob := []byte(strings.SplitAfterN(string(right), "\n", 3)[2])
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := newGuard(t, guard.Config{UsersFile: file, Log: zerolog.New(&log)})
		step := func(text []byte, ann, told int) {
			t.Helper()
			if text != nil {
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				time.Sleep(time.Second)
				if status, _ := visit(t, g, "GET", "User: bob:bobbob"); status != http.StatusOK {
					t.Errorf("bob: %d", status)
				}
			}
			if got := strings.Count(log.String(), "users_file"); got != told {
				t.Errorf("told %d times of the file, want %d:\n%s", got, told, log.String())
			}
			if status, _ := visit(t, g, "GET", "User: ann:annann"); status != ann {
				t.Errorf("ann: %d, want %d", status, ann)
			}
			log.Reset()
		}
		step(right, 200, 1)
		step([]byte("ann:secret"), 200, 2) // the reason names the file, too
		step(nil, 200, 2)
		step(onlyBob, 401, 1)
		step(onlyBob, 401, 0)
		if strings.Contains(log.String(), "secret") {
			t.Errorf("told a secret:\n%s", log.String())
		}
	})
}

// A users file that is read while it is written, and ends between two lines, locks nobody out.
func TestUsersFileBeingWritten(t *testing.T) {
	t.Parallel()
	file := usersFile(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	onlyAnn := []byte(strings.Join(strings.SplitAfterN(string(whole), "\n", 3)[:2], ""))
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{UsersFile: file, Log: zerolog.Nop()})
		step := func(text []byte, age time.Duration, bob int) {
			t.Helper()
			written := time.Now().Add(time.Second - age)
			if err := errors.Join(os.WriteFile(file, text, 0o600), os.Chtimes(file, written, written)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if status, _ := visit(t, g, "GET", "User: bob:bobbob"); status != bob {
				t.Errorf("bob: %d, want %d", status, bob)
			}
		}
		step(onlyAnn, 0, http.StatusOK)
		step(whole, 0, http.StatusOK)
		step(onlyAnn, time.Hour, http.StatusUnauthorized) // nobody has asked since
		step(whole, 0, http.StatusUnauthorized)
		step(whole, 0, http.StatusOK)            // although it is written on and on, and
		step(onlyAnn, -time.Hour, http.StatusOK) // although clocks differ
		step(onlyAnn, -time.Hour, http.StatusUnauthorized)
	})
}

// A users file that is wrong is named with its line, and never quoted.
func TestUsersFile(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"secret":                         "line 4: want name:hash",
		"carl:secret":                    "line 4: the hash is not one of bcrypt",
		"carl:{SHA}secret":               "line 4: the hash is not one of bcrypt",
		"ann:" + strings.Repeat("x", 60): "line 4",
		":x":                             "line 4: want name:hash",
		"a:b:c:secret":                   "line 4: want name:hash",
	} {
		_, err := guard.New(guard.Config{UsersFile: usersFile(t, line)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", line, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := guard.New(guard.Config{UsersFile: empty}); err == nil {
		t.Error("a file without users is taken")
	}
	if _, err := guard.New(guard.Config{UsersFile: empty + "x"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
