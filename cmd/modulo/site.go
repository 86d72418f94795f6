package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/rs/zerolog"

	"modulo/internal/api"
	"modulo/internal/config"
	"modulo/internal/dashboard"
	"modulo/internal/doctor"
	"modulo/internal/guard"
	"modulo/internal/operations"
)

// site is what people are served: nothing before the service has opened its database, and after it has let it go.
type site struct {
	address  net.Addr // where it answers
	settings dashboard.Config
	doctor   func(context.Context) doctor.Report
	console  atomic.Pointer[operations.Console]
	pages    atomic.Pointer[dashboard.Dashboard]
	closed   *dashboard.Dashboard // which says so
}

func (a *app) newSite(c *config.Config, address net.Addr, log zerolog.Logger) (*site, error) {
	s := &site{address: address, settings: dashboard.Config{Prefix: c.HTTP.Prefix, Version: version(), Log: log}}
	s.doctor = func(ctx context.Context) doctor.Report {
		examination := a.examination(true)
		examination.Load = func() (*config.Config, error) { return c, nil } // as it is in force
		return doctor.Examine(ctx, examination)
	}
	var err error
	if s.closed, err = dashboard.New(s.settings); err != nil {
		return nil, err
	}
	s.pages.Store(s.closed)
	return s, nil
}

func (s *site) open(c *operations.Console) error {
	settings := s.settings
	settings.Console = c
	pages, err := dashboard.New(settings)
	if err != nil {
		return err
	}
	s.console.Store(c)
	s.pages.Store(pages)
	return nil
}

func (s *site) close() {
	s.console.Store(nil)
	s.pages.Swap(s.closed).Close()
}

func (s *site) current() *operations.Console { return s.console.Load() }

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.pages.Load().ServeHTTP(w, r) }

// openSite serves the site where the configuration says, until the function that it returns is called; nil where it is nowhere.
func (a *app) openSite(ctx context.Context, c *config.Config, o opening) (s *site, end func(), err error) {
	listener, err := listenHTTP(ctx, c, o.log)
	if err != nil || listener == nil {
		return nil, func() {}, err
	}
	if s, err = a.newSite(c, listener.Addr(), o.log); err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	handler, err := s.routes(c, o)
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return s, serveHTTP(listener, withPprof(c, handler), o.log), nil
}

// routes are what the listener answers: probes and metrics to everybody, everything else behind the guard and the prefix.
func (s *site) routes(c *config.Config, o opening) (http.Handler, error) {
	keeper, err := newGuard(s.address, c, o.log)
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", o.monitor.Livez)
	mux.HandleFunc("GET /readyz", o.monitor.Readyz)
	mux.Handle("GET /metrics", o.monitor.Metrics())
	guarded := http.NewServeMux()
	programs := api.New(s.current, o.log)
	guarded.Handle("/api/v1/", programs)
	guarded.Handle("/api/v1", programs) // else the mux would lead out of the prefix
	guarded.Handle("/", s)
	if c.HTTP.Prefix != "" {
		mux.Handle("GET /{$}", http.RedirectHandler(c.HTTP.Prefix+"/", http.StatusFound))
	}
	mux.Handle(c.HTTP.Prefix+"/", keeper.Wrap(http.StripPrefix(c.HTTP.Prefix, guarded)))
	return mux, nil
}

func newGuard(address net.Addr, c *config.Config, log zerolog.Logger) (*guard.Guard, error) {
	tcp, isTCP := address.(*net.TCPAddr)
	keeper, err := guard.New(guard.Config{
		UsersFile: c.HTTP.UsersFile, ReadOnly: c.HTTP.ReadOnly, Payloads: c.HTTP.Payloads, Hosts: c.HTTP.Hosts,
		Loopback: isTCP && tcp.IP.IsLoopback(), Log: log,
	})
	if err != nil {
		return nil, err
	}
	log.Info().Bool("login", keeper.LogIn()).Bool("changes", keeper.Writable()).Bool("payloads", c.HTTP.Payloads).
		Str("prefix", c.HTTP.Prefix).Msg("http: what people may do")
	return keeper, nil
}
