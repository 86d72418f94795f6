package stomp_test

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	gostomp "github.com/go-stomp/stomp/v3/server"
	"go.uber.org/goleak"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/testservers"
	"modulo/jobs"
)

func TestMain(m *testing.M) {
	if err := testservers.AtATime(8); err != nil { // most wait for a deadline or for the start of a broker
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := testservers.Main(m)
	err := goleak.Find(goleak.IgnoreAnyFunction("github.com/go-stomp/stomp/v3/server.(*requestProcessor).Serve")) // has no end
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patient is a configuration that gives up nothing, however busy the machine, but what it says itself: heart-beats and
// deadlines have tests of their own.
func patient(cfg stomp.Config) stomp.Config {
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, -1)
	for _, limit := range []*time.Duration{&cfg.ConnectTimeout, &cfg.WriteTimeout, &cfg.ReceiptTimeout} {
		*limit = cmp.Or(*limit, time.Minute)
	}
	return cfg
}

// target is the adapter with these settings on a broker that needs no login.
func target(addr string, cfg stomp.Config) brokertest.Target {
	return brokertest.Target{Addr: addr, Publisher: func(addr string) (jobs.Publisher, error) {
		cfg := patient(cfg)
		cfg.Hosts = []stomp.Host{{Address: addr}}
		b, err := stomp.New(cfg)
		if err != nil {
			return nil, err
		}
		return b.Publisher(nil), nil
	}}
}

// activeMQ is the adapter on the shared broker.
func activeMQ(t testing.TB, cfg stomp.Config) brokertest.Target {
	return target(address(testservers.Broker(t).URL()), cfg)
}

func address(url string) string { return strings.TrimPrefix(url, "stomp://") }

// Without transactions on go-stomp's server: it answers a COMMIT before it carries it out.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]stomp.Config{
		"auto":        {},
		"receipt 1":   {Confirm: stomp.Receipt, Window: 1},
		"receipt 16":  {Confirm: stomp.Receipt, Window: 16},
		"receipt 256": {Confirm: stomp.Receipt, Window: 256},
	} {
		t.Run("ActiveMQ/"+name, func(t *testing.T) {
			t.Parallel()
			brokertest.Run(t, activeMQ(t, cfg))
		})
		t.Run("go-stomp/"+name, func(t *testing.T) {
			t.Parallel()
			brokertest.Run(t, target(goStomp(t), cfg))
		})
	}
}

// goStomp starts go-stomp's in-process server.
func goStomp(t testing.TB) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	server := &gostomp.Server{Log: noLog{}}
	go server.Serve(listener) //nolint:errcheck // it never returns
	return listener.Addr().String()
}

type noLog struct{}

func (noLog) Debugf(string, ...any)   {}
func (noLog) Infof(string, ...any)    {}
func (noLog) Warningf(string, ...any) {}
func (noLog) Errorf(string, ...any)   {}
func (noLog) Debug(string)            {}
func (noLog) Info(string)             {}
func (noLog) Warning(string)          {}
func (noLog) Error(string)            {}
