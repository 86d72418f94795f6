// Package stomp publishes to ActiveMQ Classic, Artemis, RabbitMQ and other brokers over STOMP 1.2.
//
// It speaks the protocol on connections of its own: go-stomp's Conn keeps one confirmed message in flight and is stuck
// after a late receipt. A Publisher's way is dial (TCP, TLS, login), conn (one reader, whose findings batch keeps), then
// transaction or window, the two ways to have messages confirmed.
package stomp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"modulo/jobs"
)

// Confirm is how messages are confirmed.
type Confirm string

const (
	Auto        Confirm = "auto"        // by the broker's name: Transaction on ActiveMQ Classic, else Receipt
	Transaction Confirm = "transaction" // all messages in one transaction whose COMMIT has a receipt
	Receipt     Confirm = "receipt"     // a receipt per message, up to Window of them unanswered
)

// Config says which hosts to use and how. New checks it; zero values stand for the defaults.
type Config struct {
	Hosts       []Host // tried in turn, the last good one first
	VirtualHost string // default "/"

	Heartbeat      time.Duration // default DefaultHeartbeat; negative: none
	ConnectTimeout time.Duration // TLS and login, per host; default 10s
	WriteTimeout   time.Duration // without the broker taking a byte more; default 10s
	ReceiptTimeout time.Duration // without an answer to what was sent; default DefaultReceiptTimeout

	Confirm    Confirm
	Window     int  // messages unanswered at most, with Receipt; default DefaultWindow
	KeepPrefix bool // leave "/queue/" and "/topic/" in destinations on Artemis

	TokenPrefix  string        // begins the names of token queues; default DefaultTokenPrefix
	TokenRefresh time.Duration // an idle token is written anew when it is as old as this; default 1h
}

// Defaults of Config.
const (
	DefaultHeartbeat      = 5 * time.Second
	DefaultReceiptTimeout = 30 * time.Second
	DefaultWindow         = 256
	DefaultTokenPrefix    = jobs.TokenPrefix
)

// Host is one broker address with its login.
type Host struct {
	Address            string      // "host:port"
	TLS                *tls.Config // nil: plain TCP
	Username, Password string      // no username: no login
}

func (h Host) String() string {
	if h.TLS != nil {
		return "stomp+tls://" + h.Address
	}
	return "stomp://" + h.Address
}

// Broker is a checked configuration, safe for concurrent use.
type Broker struct{ cfg Config }

const maxWindow = 100_000

// New checks the configuration. It does not connect.
func New(cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	var problems []error
	if len(cfg.Hosts) == 0 {
		problems = append(problems, errors.New("no host"))
	}
	for _, h := range cfg.Hosts {
		problems = append(problems, h.check())
	}
	switch cfg.Confirm {
	case Auto, Transaction, Receipt:
	default:
		problems = append(problems, fmt.Errorf("confirm: %.20q, want auto, transaction or receipt", string(cfg.Confirm)))
	}
	if cfg.Window < 1 || cfg.Window > maxWindow {
		problems = append(problems, fmt.Errorf("window: %d, want 1 to %d", cfg.Window, maxWindow))
	}
	if h := cfg.Heartbeat; h > 0 && h < 10*time.Millisecond {
		problems = append(problems, fmt.Errorf("heartbeat: %s, want at least 10ms", h))
	}
	for name, d := range map[string]time.Duration{
		"connect": cfg.ConnectTimeout, "write": cfg.WriteTimeout, "receipt": cfg.ReceiptTimeout,
	} {
		if d < 0 {
			problems = append(problems, fmt.Errorf("%s timeout: %s is negative", name, d))
		}
	}
	if strings.ContainsAny(cfg.VirtualHost, unconnectable) {
		problems = append(problems, errors.New("virtual host: a line break or NUL in it"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &Broker{cfg}, nil
}

func (cfg Config) withDefaults() Config {
	orElse := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	orElse(&cfg.Heartbeat, DefaultHeartbeat)
	orElse(&cfg.ConnectTimeout, 10*time.Second)
	orElse(&cfg.WriteTimeout, 10*time.Second)
	orElse(&cfg.ReceiptTimeout, DefaultReceiptTimeout)
	orElse(&cfg.TokenRefresh, time.Hour)
	cfg.Heartbeat = max(cfg.Heartbeat, 0)
	if cfg.VirtualHost == "" {
		cfg.VirtualHost = "/"
	}
	if cfg.Confirm == "" {
		cfg.Confirm = Auto
	}
	if cfg.Window == 0 {
		cfg.Window = DefaultWindow
	}
	if cfg.TokenPrefix == "" {
		cfg.TokenPrefix = DefaultTokenPrefix
	}
	return cfg
}

// unconnectable are the bytes that no form of a CONNECT header can carry to every broker.
const unconnectable = "\x00\r\n"

func (h Host) check() error {
	if _, _, err := net.SplitHostPort(h.Address); err != nil {
		return fmt.Errorf("host %q: %w", h.Address, err)
	}
	if strings.ContainsAny(h.Username, unconnectable) {
		return fmt.Errorf("host %s: a line break or NUL in the username", h.Address)
	}
	if strings.ContainsAny(h.Password, "\x00\r") {
		return fmt.Errorf("host %s: a carriage return or NUL in the password", h.Address)
	}
	return nil
}

// String lists the hosts without their logins.
func (b *Broker) String() string {
	names := make([]string, len(b.cfg.Hosts))
	for i, h := range b.cfg.Hosts {
		names[i] = h.String()
	}
	return strings.Join(names, ",")
}

// Publisher returns a publisher that is not connected yet; with a token if one is wanted. Only one goroutine may use it
// at a time.
func (b *Broker) Publisher(token *TokenConfig) jobs.Publisher {
	p := &Publisher{cfg: &b.cfg}
	if token != nil {
		p.keeper = &keeper{TokenConfig: *token}
	}
	return p
}
