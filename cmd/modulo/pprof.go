package main

import (
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"

	"modulo/internal/config"
	"modulo/internal/guard"
)

// withPprof puts the profiles of the process beside what is answered anyway, if the configuration wants them.
func withPprof(c *config.Config, rest http.Handler) http.Handler {
	if !c.HTTP.Pprof {
		return rest
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)          // and the profiles by name
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound) // arguments may hold a password
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	all := http.NewServeMux()
	all.Handle("/debug/pprof/", onThisMachine(mux))
	all.Handle("/", rest)
	return all
}

// onThisMachine refuses callers that come from elsewhere, by a proxy, or by a web page that has another name for us: a
// profile tells much, and costs CPU.
func onThisMachine(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remote, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !remote.Addr().Unmap().IsLoopback() || guard.Relayed(r) || !isLoopback(r.Host) {
			http.Error(w, "pprof is for callers on this machine: go tool pprof http://127.0.0.1:PORT/debug/pprof/profile", http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}
