// Package broker opens the connection to where messages go. Each broker protocol is a package below this one; New picks
// it by the scheme of the URL.
package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"modulo/broker/stomp"
	"modulo/jobs"
)

// Broker is a checked configuration. It makes one publisher per worker and is safe for concurrent use.
type Broker interface {
	// Publisher returns a publisher that is not connected yet, with a token if one is wanted.
	Publisher(token *stomp.TokenConfig) jobs.Publisher
	// Inspect logs in once, and counts the messages in the token queues of a job's workers.
	Inspect(ctx context.Context, tokens []stomp.TokenName) (stomp.Inspection, error)
	// Canary sends a message, reads it back and takes it. See stomp.Broker.
	Canary(ctx context.Context) (stomp.Canary, error)
	// String lists the addresses, without logins; fit for a log.
	String() string
}

// Config says which broker to use and how. Zero durations and counts stand for the defaults of stomp.Config.
type Config struct {
	// URL is one address or several, separated by commas and tried in turn: stomp://user:password@host:61613 or
	// stomp+tls://host:61612. Special characters in a login are percent-encoded.
	URL string
	// Username and Password log in where the address itself brings no login.
	Username, Password string
	TLS                TLS
	// VirtualHost is the part of the broker to use: RabbitMQ's vhost. Default "/"; ActiveMQ ignores it.
	VirtualHost string

	// Heartbeat is how often either side shows that it is alive; negative: never.
	Heartbeat      time.Duration
	ConnectTimeout time.Duration // TLS and login, per host
	ReceiptTimeout time.Duration // without an answer to what was sent

	// Confirm is how messages are confirmed: auto (the default), transaction or receipt.
	Confirm string
	// Window is how many messages may be unanswered with Confirm receipt; 1 sends one by one.
	Window int
	// KeepPrefix leaves "/queue/" and "/topic/" in the destinations on Artemis, for acceptors that know them as
	// anycastPrefix and multicastPrefix.
	KeepPrefix bool
	// TokenPrefix begins the names of the queues that hold the workers' tokens.
	TokenPrefix string
}

// New checks the configuration, reads the TLS files and returns the broker. It does not connect. Errors never hold a
// login or a password.
func New(cfg Config) (Broker, error) {
	addresses, err := parseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("broker url: %w", err)
	}
	switch addresses[0].scheme {
	case "stomp", "stomp+tls":
		return newSTOMP(cfg, addresses)
	default:
		return nil, fmt.Errorf("broker url: unknown scheme %.20q, want stomp or stomp+tls", addresses[0].scheme)
	}
}

func newSTOMP(cfg Config, addresses []address) (Broker, error) {
	settings := stomp.Config{
		VirtualHost:    cfg.VirtualHost,
		Heartbeat:      cfg.Heartbeat,
		ConnectTimeout: cfg.ConnectTimeout,
		ReceiptTimeout: cfg.ReceiptTimeout,
		Confirm:        stomp.Confirm(cfg.Confirm),
		Window:         cfg.Window,
		KeepPrefix:     cfg.KeepPrefix,
		TokenPrefix:    cfg.TokenPrefix,
	}
	var err error
	if settings.Hosts, err = hosts(cfg, addresses); err != nil {
		return nil, err
	}
	if cfg.TLS != (TLS{}) && !slices.ContainsFunc(settings.Hosts, func(h stomp.Host) bool { return h.TLS != nil }) {
		return nil, errors.New("broker tls: no address with stomp+tls:// to use it")
	}
	broker, err := stomp.New(settings)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return broker, nil
}

// Hosts are the addresses of a STOMP broker with their logins, for who speaks with it without a Broker. Errors as of New.
func Hosts(cfg Config) ([]stomp.Host, error) {
	addresses, err := parseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("broker url: %w", err)
	}
	return hosts(cfg, addresses)
}

func hosts(cfg Config, addresses []address) (list []stomp.Host, err error) {
	for _, a := range addresses {
		host := stomp.Host{Username: cfg.Username, Password: cfg.Password}
		if a.login != nil {
			host.Username = a.login.Username()
			host.Password, _ = a.login.Password()
		}
		switch a.scheme {
		case "stomp":
			host.Address = a.hostPort("61613")
		case "stomp+tls":
			host.Address = a.hostPort("61612")
			if host.TLS, err = cfg.TLS.client(a.host); err != nil {
				return nil, fmt.Errorf("broker tls: %w", err)
			}
		default:
			return nil, fmt.Errorf("broker url: scheme %.20q beside stomp", a.scheme)
		}
		list = append(list, host)
	}
	return list, nil
}
