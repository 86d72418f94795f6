// Package guard stands before everything that is served to people: who is asking, what they may do, and from where. Probes
// and metrics are not behind it.
package guard

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Config says who may do what.
type Config struct {
	UsersFile string // of name:bcrypt or name:bcrypt:write; empty: nobody has to log in. It may change
	// ReadOnly refuses every change; false allows changes; nil: allowed to users with the role write and, without a
	// UsersFile, on Loopback.
	ReadOnly *bool
	// Payloads shows bodies of messages.
	Payloads bool
	// Loopback says that only this machine can connect.
	Loopback bool
	// Hosts are names that requests may be for besides "localhost" and addresses, where nobody has to log in.
	Hosts []string
	// Log is told of wrong logins and of what is refused, at most once a second.
	Log zerolog.Logger
}

// Visitor is who asks.
type Visitor struct {
	Name     string // of the user, or the address; for the audit
	Write    bool   // may change something
	Payloads bool   // may see bodies of messages
}

// Guard lets requests in. Safe for concurrent use.
type Guard struct {
	Config
	users  *usersFile // nil: nobody has to log in
	origin *http.CrossOriginProtection

	mu     sync.Mutex
	toldAt time.Time // when the log was told last
	untold int       // refusals since
}

// ErrOpen says that anybody on the network could change something, or see payloads.
var ErrOpen = errors.New("listening beyond this machine without a login: set http.users_file, or leave http.read_only and http.payloads " +
	"at their defaults, which let nobody change anything or see payloads; or listen on 127.0.0.1")

// New reads the users. ErrOpen: see there.
func New(cfg Config) (*Guard, error) {
	g := &Guard{Config: cfg, origin: http.NewCrossOriginProtection()}
	if cfg.UsersFile != "" {
		var err error
		g.users, err = openUsers(cfg.UsersFile, cfg.Log)
		return g, err
	}
	if writing := cfg.ReadOnly != nil && !*cfg.ReadOnly; !cfg.Loopback && (writing || cfg.Payloads) {
		return nil, ErrOpen
	}
	return g, nil
}

// Writable says whether there is anybody who may change something.
func (g *Guard) Writable() bool {
	if g.ReadOnly != nil {
		return !*g.ReadOnly
	}
	return g.users != nil || g.Loopback
}

// LogIn says whether people have to log in.
func (g *Guard) LogIn() bool { return g.users != nil }

type visitorKey struct{}

// VisitorOf is who the guard has let in; nobody, who may do nothing, where it was not asked.
func VisitorOf(ctx context.Context) Visitor {
	v, _ := ctx.Value(visitorKey{}).(Visitor)
	return v
}

// Wrap lets only those requests through to next that are allowed.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		harden(w.Header())
		visitor, ok := g.admit(w, r)
		if !ok {
			return
		}
		if changes(r.Method) {
			if err := g.origin.Check(r); err != nil {
				g.refuse(w, r, http.StatusForbidden, "the request comes from another site")
				return
			}
			if !visitor.Write {
				g.refuse(w, r, http.StatusForbidden, g.whyNot())
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, visitor)))
	})
}

// changes says whether a method may change something.
func changes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// admit finds out who asks, or answers that they may not.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request) (Visitor, bool) {
	if g.users == nil {
		if !g.knownHost(r.Host) {
			g.refuse(w, r, http.StatusMisdirectedRequest, "this name is not one that is served without a login: ask for an address, or name it in http.hosts")
			return Visitor{}, false
		}
		distant := g.ReadOnly == nil && (Relayed(r) || g.hasName(r.Host))
		return Visitor{Name: "anonymous from " + hostOf(r.RemoteAddr), Write: g.Writable() && !distant, Payloads: g.Payloads && !distant}, true
	}
	name, password, _ := r.BasicAuth()
	role, ok := g.users.users().check(r.Context(), name, password)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="Modulo", charset="UTF-8"`)
		refuse := g.refuse
		if r.Header.Get("Authorization") == "" {
			refuse = Refuse // as every browser asks at first
		}
		refuse(w, r, http.StatusUnauthorized, "log in with a name and a password of http.users_file")
		return Visitor{}, false
	}
	return Visitor{Name: name, Write: g.Writable() && role == roleWrite, Payloads: g.Payloads}, true
}

// refuse also tells the log, without the name: people type passwords there.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if untold, now := g.tellNow(time.Now()); now {
		g.Log.Warn().Str("remote", r.RemoteAddr).Str("method", r.Method).Str("path", r.URL.Path).Int("status", status).
			Str("reason", detail).Int("untold", untold).Msg("http: refused")
	}
	Refuse(w, r, status, detail)
}

// tellNow says whether the log has been quiet for a second, and how many refusals it has not been told of.
func (g *Guard) tellNow(at time.Time) (untold int, now bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at.Sub(g.toldAt) < time.Second {
		g.untold++
		return 0, false
	}
	untold, g.untold, g.toldAt = g.untold, 0, at
	return untold, true
}

// Relayed says that a proxy passes on what others ask: without a login, and without a word of the operator, those are
// treated like anybody on the network. A proxy that adds no header cannot be told from this machine.
func Relayed(r *http.Request) bool {
	for _, header := range []string{
		"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server",
		"Cf-Connecting-Ip", "True-Client-Ip",
	} {
		if len(r.Header.Values(header)) > 0 {
			return true
		}
	}
	return false
}

// knownHost keeps away sites whose name was made to lead here, which the browser takes for one and the same site.
func (g *Guard) knownHost(hostport string) bool {
	host := hostOf(hostport)
	return host == "localhost" || net.ParseIP(strings.Trim(host, "[]")) != nil || g.hasName(hostport)
}

// hasName says that a request is for a name of http.hosts: those are for others than this machine.
func (g *Guard) hasName(hostport string) bool {
	host := hostOf(hostport)
	return slices.ContainsFunc(g.Hosts, func(known string) bool { return strings.EqualFold(host, known) })
}

func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

func (g *Guard) whyNot() string {
	switch {
	case g.ReadOnly != nil && *g.ReadOnly:
		return "read-only: http.read_only is set"
	case g.users != nil:
		return `read-only: the user lacks the role write, as in "name:hash:write" in http.users_file`
	}
	return "read-only: changes from beyond this machine need a login, see http.users_file"
}

// harden sets what browsers are to keep to.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cache-Control", "no-store")
}
