package main

import (
	"net"
	"net/http"
	"sync/atomic"

	"github.com/rs/zerolog"

	"modulo/internal/api"
	"modulo/internal/config"
	"modulo/internal/guard"
	"modulo/internal/operations"
)

// site is what people are served: nothing before the service has opened its database, and after it has let it go.
type site struct {
	console atomic.Pointer[operations.Console]
}

func (s *site) open(c *operations.Console)   { s.console.Store(c) }
func (s *site) close()                       { s.console.Store(nil) }
func (s *site) current() *operations.Console { return s.console.Load() }

// routes are what the listener answers: probes and metrics to everybody, everything else behind the guard and the prefix.
func routes(listener net.Listener, c *config.Config, o opening, log zerolog.Logger) (http.Handler, error) {
	keeper, err := newGuard(listener, c, log)
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", o.monitor.Livez)
	mux.HandleFunc("GET /readyz", o.monitor.Readyz)
	mux.Handle("GET /metrics", o.monitor.Metrics())
	guarded := http.NewServeMux()
	guarded.Handle("/api/v1/", api.New(o.site.current, log))
	if c.HTTP.Prefix != "" {
		mux.Handle("GET /{$}", http.RedirectHandler(c.HTTP.Prefix+"/", http.StatusFound))
	}
	mux.Handle(c.HTTP.Prefix+"/", keeper.Wrap(http.StripPrefix(c.HTTP.Prefix, guarded)))
	return mux, nil
}

func newGuard(listener net.Listener, c *config.Config, log zerolog.Logger) (*guard.Guard, error) {
	address, isTCP := listener.Addr().(*net.TCPAddr)
	keeper, err := guard.New(guard.Config{
		UsersFile: c.HTTP.UsersFile, ReadOnly: c.HTTP.ReadOnly, Payloads: c.HTTP.Payloads, Hosts: c.HTTP.Hosts,
		Loopback: isTCP && address.IP.IsLoopback(),
	})
	if err != nil {
		return nil, err
	}
	log.Info().Bool("login", keeper.LogIn()).Bool("changes", keeper.Writable()).Bool("payloads", c.HTTP.Payloads).
		Str("prefix", c.HTTP.Prefix).Msg("http: what people may do")
	return keeper, nil
}
