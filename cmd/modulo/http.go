package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"modulo/internal/config"
)

// Limits of a request. Nothing that is served waits for anybody, so whoever is slower than this is cut off.
const (
	headerTimeout = 5 * time.Second
	answerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	// goodbye is how long answers under way may take at the end.
	goodbye = 500 * time.Millisecond
)

// listenHTTP opens the address of the configuration; nil where HTTP is off. Two instances on one machine need no
// settings: where the default port is taken, and nobody has asked for it, any other one will do; or none.
func listenHTTP(ctx context.Context, c *config.Config, log zerolog.Logger) (net.Listener, error) {
	address, chosen := c.Listen()
	if address == "" {
		return nil, nil
	}
	var sockets net.ListenConfig
	listener, err := sockets.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) && !chosen {
		log.Warn().Str("taken", address).Msg("http: the default port is taken, using another one; choose one by --http")
		listener, err = sockets.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil && !chosen {
		log.Warn().Err(err).Msg("http: the default address cannot be used: no metrics, no probes; choose one by --http")
		return nil, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, exit(exitRuntime, fmt.Errorf("http: %w; choose another address by --http, or --http off", err))
	}
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("http: %w", err))
	}
	log.Info().Stringer("address", listener.Addr()).Msg("http listens: dashboard, /api/v1, /livez, /readyz, /metrics")
	return listener, nil
}

// serveHTTP lets the handler answer on the listener. The function it returns ends that; answers under way may take goodbye.
func serveHTTP(listener net.Listener, handler http.Handler, log zerolog.Logger) (end func()) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: answerTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: stdlog.New(log, "", 0),
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error().Err(err).Msg("http ended; the service goes on")
		}
	})
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // whoever still reads is cut off
		}
		serving.Wait()
	}
}
