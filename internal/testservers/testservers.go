// Package testservers gives tests real servers: one PostgreSQL and one ActiveMQ per test binary, started when the first
// test asks for them, and servers of a test's own that it may kill. A test that cannot have its server fails.
package testservers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"modulo/internal/local"
)

// shared are the servers of this test binary. They are global because tests have no other place in common: Main
// stops what their Database and Broker calls started.
var shared servers

type servers struct {
	mu       sync.Mutex
	serving  bool // Main runs
	dir      string
	postgres *local.Postgres
	migrated bool             // the template database is complete
	pooler   *local.PgBouncer // in front of postgres
	activemq *local.ActiveMQ
	classes  string // directory of the compiled consumer
}

// AtATime lets so many parallel tests run beside each other, unless the command line says how many: for tests that wait
// most of the time, and not for a processor. Before Main.
func AtATime(tests int) error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(tests))
}

// Main runs the tests and stops the shared servers; it returns the exit code. For TestMain: os.Exit(testservers.Main(m)).
func Main(m *testing.M) int {
	shared.mu.Lock()
	shared.serving = true
	shared.mu.Unlock()
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the test servers:", err)
		return max(code, 1)
	}
	return code
}

func (s *servers) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.pooler != nil {
		errs = append(errs, s.pooler.Stop())
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop())
	}
	if s.activemq != nil {
		errs = append(errs, s.activemq.Stop())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// folder is where a shared server lives. The caller holds the lock.
func (s *servers) folder(name string) (string, error) {
	if !s.serving {
		return "", errors.New("the package needs func TestMain(m *testing.M) { os.Exit(testservers.Main(m)) }")
	}
	if s.dir == "" {
		dir, err := local.TempDir("modulo-test-*")
		if err != nil {
			return "", err
		}
		s.dir = dir
	}
	return filepath.Join(s.dir, name), nil
}

// Broker is the ActiveMQ that the tests of this binary share, with disk syncs as in real life. Use queue names of your
// own, and do not kill, pause or stop it.
func Broker(t testing.TB) *local.ActiveMQ {
	t.Helper()
	mq, err := shared.broker()
	if err != nil {
		t.Fatal(err)
	}
	return mq
}

func (s *servers) broker() (*local.ActiveMQ, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.activemq != nil {
		return s.activemq, nil
	}
	dir, err := s.folder("activemq")
	if err != nil {
		return nil, err
	}
	s.activemq, err = local.StartActiveMQ(context.Background(), local.ActiveMQConfig{Dir: dir, QuickStart: true})
	return s.activemq, err
}

// OwnBroker starts an ActiveMQ for this test alone, with the configuration if one is given; Dir and QuickStart are set
// here. It may be killed, paused and restarted, and is gone after the test.
func OwnBroker(t testing.TB, cfg ...local.ActiveMQConfig) *local.ActiveMQ {
	t.Helper()
	var c local.ActiveMQConfig
	if len(cfg) > 0 {
		c = cfg[0]
	}
	c.Dir, c.QuickStart = folder(t), true
	mq, err := local.StartActiveMQ(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mq.Stop(); err != nil {
			t.Error(err)
		}
	})
	return mq
}

// OwnPostgres starts a PostgreSQL for this test alone, with the configuration if one is given; Dir is set here, and
// without a configuration it is Unsafe. It may be killed, paused and restarted, and is gone after the test. It holds
// no database of ours: `modulo migrate up` makes one.
func OwnPostgres(t testing.TB, cfg ...local.PostgresConfig) *local.Postgres {
	t.Helper()
	c := local.PostgresConfig{Unsafe: true}
	if len(cfg) > 0 {
		c = cfg[0]
	}
	c.Dir = folder(t)
	pg, err := local.StartPostgres(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	return pg
}

// folder is a directory for a server of the test's own. Unlike t.TempDir, other users can enter it.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := local.TempDir("modulo-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
