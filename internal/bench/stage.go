package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"modulo/broker"
	"modulo/broker/stomp"
	"modulo/internal/faultproxy"
	"modulo/internal/local"
)

// stage is where everything is measured: a database of our own, a queue of our own.
type stage struct {
	cfg      Config
	dir      string
	pg       *local.Postgres // nil: somebody's own
	mq       *local.ActiveMQ // nil: somebody's own
	database string          // URL of the database
	db       *pgx.Conn       // to it
	broker   broker.Config
	hosts    []stomp.Host
	server   string // what the broker calls itself
	name     string // of everything we make
	proxies  map[string]string
	cleanup  []func() error
}

// Sizes of the private servers. Everything that is about durability is as it comes.
var postgresSettings = []string{"max_connections=300", "max_wal_size=4GB"}

const (
	brokerHeap   = "1g"
	brokerMemory = 256 << 20
)

func openStage(ctx context.Context, cfg Config) (_ *stage, err error) {
	s := &stage{cfg: cfg, proxies: map[string]string{}, name: "modulo_bench_" + strings.ToLower(rand.Text()[:8])}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = local.TempDir("modulo-bench-*"); err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, func() error { return os.RemoveAll(s.dir) })
	if cfg.Own == nil {
		err = s.startServers(ctx)
	} else {
		err = s.enter(ctx, *cfg.Own)
	}
	if err != nil {
		return nil, err
	}
	if err := s.meetBroker(ctx); err != nil {
		return nil, err
	}
	if err := s.runProgram(ctx, "migrate", "up"); err != nil {
		return nil, err
	}
	if s.db, err = pgx.Connect(ctx, s.database); err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, func() error { return s.db.Close(context.Background()) })
	return s, nil
}

func (s *stage) startServers(ctx context.Context) error {
	fmt.Fprintln(s.cfg.Progress, "starting a private PostgreSQL and a private ActiveMQ ...")
	var err error
	if s.pg, err = local.StartPostgres(ctx, local.PostgresConfig{Dir: s.dir + "/postgres", Settings: postgresSettings}); err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, s.pg.Stop)
	s.mq, err = local.StartActiveMQ(ctx, local.ActiveMQConfig{Dir: s.dir + "/activemq", Heap: brokerHeap, MemoryLimit: brokerMemory})
	if err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, s.mq.Stop)
	s.database = s.pg.URL("postgres")
	s.broker = broker.Config{URL: s.mq.URL()}
	s.hosts, err = broker.Hosts(s.broker)
	return err
}

// enter makes a database of our own on somebody's server.
func (s *stage) enter(ctx context.Context, own Servers) error {
	s.broker, s.hosts = own.Broker, own.Hosts
	conn, err := pgx.Connect(ctx, own.DatabaseURL)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "create database "+s.name)
	if err := errors.Join(err, conn.Close(context.Background())); err != nil {
		return fmt.Errorf("%w: the benchmark works in a database of its own, which it makes and drops again: "+
			"create database %s: %w", ErrRefused, s.name, err)
	}
	s.cleanup = append(s.cleanup, func() error { return dropDatabase(own.DatabaseURL, s.name) })
	s.database, err = withDatabase(own.DatabaseURL, s.name)
	return err
}

// ErrRefused says that the servers do not let us do what measuring takes.
var ErrRefused = errors.New("not allowed")

// cleanupPatience bounds what is done after the end of ctx.
const cleanupPatience = 30 * time.Second

func dropDatabase(server, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupPatience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	if _, err = conn.Exec(ctx, "drop database "+name+" with (force)"); err != nil {
		err = fmt.Errorf("drop database %s: %w", name, err)
	}
	return errors.Join(err, conn.Close(ctx))
}

// withDatabase is the address of another database on the same server.
func withDatabase(server, name string) (string, error) {
	if !strings.Contains(server, "://") {
		return server + " dbname=" + name, nil // the last one counts
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", errors.New("the database's URL cannot be read") // whose text may hold a password
	}
	u.Path = "/" + name
	return u.String(), nil
}

// meetBroker sees that we may use queues of our own, and sees to it that they are emptied in the end.
func (s *stage) meetBroker(ctx context.Context) error {
	w, err := connectWire(ctx, s.hosts)
	if err != nil {
		return err
	}
	s.server = w.server
	if err := w.leave(); err != nil {
		return err
	}
	if s.mq != nil {
		return nil // ends with us
	}
	if !strings.HasPrefix(s.server, "ActiveMQ/") {
		return fmt.Errorf("%w: the benchmark knows ActiveMQ Classic, this is %s", ErrRefused, s.server)
	}
	if _, err := take(ctx, s.hosts, s.queue(), 0); err != nil {
		return fmt.Errorf("%w: the benchmark needs to make, write and read queues whose names begin with %s: %w", ErrRefused, s.name, err)
	}
	s.cleanup = append(s.cleanup, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupPatience)
		defer cancel()
		_, err1 := take(ctx, s.hosts, s.queue(), 0)
		_, err2 := take(ctx, s.hosts, "/queue/"+s.tokenPrefix()+">", 0)
		return errors.Join(err1, err2)
	})
	return nil
}

func (s *stage) queue() string       { return "/queue/" + s.name + ".events" }
func (s *stage) tokenPrefix() string { return s.name + ".token." }

// runProgram runs a command of the program on our database to its end.
func (s *stage) runProgram(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.cfg.Program, args...)
	cmd.Env = s.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// environment is that of the programs: ours without settings of Modulo's. Secrets go there, not into arguments, which
// everybody can read.
func (s *stage) environment() []string {
	own := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "MODULO_") || strings.HasPrefix(variable, "DATABASE_URL=") ||
			strings.HasPrefix(variable, "GOMAXPROCS=") || strings.HasPrefix(variable, "GOGC=")
	})
	return append(own, "MODULO_DATABASE_URL="+s.database)
}

// through starts a proxy that delays what a server says; it lasts as long as the stage.
func (s *stage) through(address string, delay time.Duration) (string, error) {
	key := address + delay.String()
	if known, ok := s.proxies[key]; ok {
		return known, nil
	}
	proxy, err := faultproxy.Start(address)
	if err != nil {
		return "", err
	}
	s.cleanup = append(s.cleanup, proxy.Close)
	proxy.Set(faultproxy.Faults{Down: faultproxy.Flow{Delay: delay}})
	s.proxies[key] = proxy.Addr()
	return proxy.Addr(), nil
}

// close removes everything, the last first.
func (s *stage) close() error {
	var problems []error
	for i := len(s.cleanup) - 1; i >= 0; i-- {
		problems = append(problems, s.cleanup[i]())
	}
	s.cleanup = nil
	return errors.Join(problems...)
}
