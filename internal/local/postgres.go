package local

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PostgresConfig describes a private server. Only Dir is required.
type PostgresConfig struct {
	// Dir is made if missing and belongs to the server: database, log and password. One that a stopped server left is
	// used again. Started by root, the server runs as the user postgres, who must be able to enter Dir.
	Dir string
	// Unsafe gives up durability for speed: commits survive the end of the server's processes, not a power cut.
	Unsafe bool
	// Settings are further server settings, as in "max_connections=300".
	Settings []string
}

// Postgres is a private PostgreSQL server. The methods that start and stop it are not safe for concurrent use.
type Postgres struct {
	daemon
	cfg      PostgresConfig
	bin      string              // directory of the programs
	account  *syscall.Credential // nil: ours
	port     Port
	password string
}

// StartPostgres makes a database cluster in cfg.Dir, starts a server on a free loopback port and returns when it
// accepts connections. ctx limits the start only.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	pg := &Postgres{cfg: cfg}
	if err := pg.prepare(ctx); err != nil {
		return nil, fmt.Errorf("prepare postgres: %w", err)
	}
	if err := pg.Start(ctx); err != nil {
		return nil, err
	}
	return pg, nil
}

func (pg *Postgres) prepare(ctx context.Context) error {
	if err := pg.locate(); err != nil {
		return err
	}
	if _, err := os.Stat(pg.dataDir()); errors.Is(err, os.ErrNotExist) {
		return pg.initCluster(ctx)
	}
	password, err := os.ReadFile(pg.passwordFile())
	pg.password = string(password)
	return err
}

// locate finds the programs, their user, a port, and makes the directory.
func (pg *Postgres) locate() error {
	var err error
	if pg.cfg.Dir, err = filepath.Abs(pg.cfg.Dir); err != nil {
		return err
	}
	if pg.bin, err = postgresPrograms(); err != nil {
		return err
	}
	if pg.account, err = postgresAccount(); err != nil {
		return err
	}
	if pg.port, err = FreePort(); err != nil {
		return err
	}
	pg.daemon = daemon{
		name: "postgres", log: pg.LogFile(), newCmd: pg.server, ready: pg.Ping,
		onDeath:  syscall.SIGQUIT, // the immediate shutdown: the server takes its children and its shared memory along
		farewell: syscall.SIGINT,
	}
	return makeDir(pg.cfg.Dir, pg.account)
}

func (pg *Postgres) dataDir() string      { return filepath.Join(pg.cfg.Dir, "data") }
func (pg *Postgres) passwordFile() string { return filepath.Join(pg.cfg.Dir, "password") }

// LogFile is where the server's log goes.
func (pg *Postgres) LogFile() string { return filepath.Join(pg.cfg.Dir, "postgres.log") }

// makeDir makes the server's directory, and sees that the server's user can enter it.
func makeDir(dir string, account *syscall.Credential) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil { // whatever our umask
			return err
		}
	}
	if account == nil {
		return nil
	}
	return checkEntry(dir, account.Uid)
}

// checkEntry says which directory on the way to dir keeps the user out; "others" stands for the user's groups too.
func checkEntry(dir string, uid uint32) error {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode()&0o001 == 0 && owner != uid {
			return fmt.Errorf("user %d, who runs the server, cannot enter %s (%v): choose a directory below %s",
				uid, dir, info.Mode(), os.TempDir())
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// initCluster makes the cluster with a password of its own: on a shared machine a superuser without one is a way
// into the server's account.
func (pg *Postgres) initCluster(ctx context.Context) error {
	pg.password = rand.Text()
	if err := os.WriteFile(pg.passwordFile(), []byte(pg.password), 0o600); err != nil {
		return err
	}
	unfinished := pg.dataDir() + ".new" // renamed once complete
	if err := errors.Join(os.RemoveAll(unfinished), os.Mkdir(unfinished, 0o700)); err != nil {
		return err
	}
	if err := giveTo(pg.account, unfinished, pg.passwordFile()); err != nil {
		return err
	}
	err := pg.complete(ctx, "initdb", "--pgdata="+unfinished, "--username=postgres", "--pwfile="+pg.passwordFile(),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return err
	}
	return os.Rename(unfinished, pg.dataDir())
}

// giveTo makes files belong to the account; nil means that they do already.
func giveTo(account *syscall.Credential, files ...string) error {
	if account == nil {
		return nil
	}
	var errs []error
	for _, file := range files {
		errs = append(errs, os.Chown(file, int(account.Uid), int(account.Gid)))
	}
	return errors.Join(errs...)
}

// complete runs one of the server's programs to its end.
func (pg *Postgres) complete(ctx context.Context, program string, args ...string) error {
	p, err := spawn(pg.command(program, args...), pg.LogFile(), syscall.SIGKILL)
	if err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s%s", program, p.cmd.ProcessState, logTail(p.log))
	}
	return nil
}

// command runs one of the server's programs as its user, untouched by our own PG* variables.
func (pg *Postgres) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(pg.bin, program), args...)
	cmd.Dir = pg.cfg.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: pg.account}
	return cmd
}

func (pg *Postgres) server() *exec.Cmd {
	settings := []string{"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(pg.port.number), "unix_socket_directories="}
	if pg.cfg.Unsafe {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	args := []string{"-D", pg.dataDir()}
	for _, s := range append(settings, pg.cfg.Settings...) {
		args = append(args, "-c", s)
	}
	return pg.command("postgres", args...)
}

// Ping connects once.
func (pg *Postgres) Ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// URL is the address of a database, with user and password of a superuser.
func (pg *Postgres) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", pg.password), Host: pg.port.Addr(),
		Path: database, RawQuery: "sslmode=disable"}
	return u.String()
}

// postgresPrograms finds the directory of initdb and postgres: the newest that Debian's packages installed, else PATH.
func postgresPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(majorVersion(a), majorVersion(b)) })
		return filepath.Dir(newest), nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("initdb: %w; Debian's package is postgresql", ErrNotInstalled)
	}
	if initdb, err = filepath.EvalSymlinks(initdb); err != nil {
		return "", err
	}
	return filepath.Dir(initdb), nil
}

// majorVersion is the 15 of /usr/lib/postgresql/15/bin/initdb.
func majorVersion(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // anything but a number counts as oldest
	return n
}

// postgresAccount is the user for the server when we are root, who may not run it; nil means ourselves.
func postgresAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("root cannot run the server itself: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user postgres: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user postgres: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
