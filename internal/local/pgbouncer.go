package local

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PgBouncer is a private pooler in transaction mode, configured as Debian's is otherwise, in front of a server of this
// package. The methods that start and stop it are not safe for concurrent use.
type PgBouncer struct {
	daemon
	server   *Postgres
	settings []string
	dir      string
	program  string
	port     Port
}

// StartPgBouncer starts a pooler in front of every database of the server, on a free loopback port, and returns when it
// answers. dir is made if missing; the server's user must be able to enter it. Settings are further lines of its file,
// as in "default_pool_size = 3". ctx limits the start only.
func StartPgBouncer(ctx context.Context, dir string, server *Postgres, settings ...string) (*PgBouncer, error) {
	b := &PgBouncer{server: server, settings: settings}
	if err := b.prepare(dir); err != nil {
		return nil, fmt.Errorf("prepare pgbouncer: %w", err)
	}
	const fastExit = 1
	b.daemon = daemon{
		name: "pgbouncer", log: b.LogFile(), newCmd: b.command, ready: b.Ping, onDeath: syscall.SIGKILL,
		farewell: syscall.SIGTERM, exitCode: fastExit,
	}
	if err := b.Start(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *PgBouncer) prepare(dir string) error {
	var err error
	if b.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if b.program, err = pgbouncerProgram(); err != nil {
		return err
	}
	if b.port, err = FreePort(); err != nil {
		return err
	}
	if err := makeDir(b.dir, b.server.account); err != nil {
		return err
	}
	return b.writeFiles()
}

// pgbouncerSettings: %[1]d the server's port, %[2]d ours, %[3]s the file of users. The pool is smaller than the number
// of clients, so that transactions really change their connections; idle ones end soon, so that tests see who is gone.
const pgbouncerSettings = `[databases]
* = host=127.0.0.1 port=%[1]d

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[2]d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %[3]s
pool_mode = transaction
default_pool_size = 10
max_client_conn = 1000
server_idle_timeout = 2
server_login_retry = 1
log_connections = 0
log_disconnections = 0
`

func (b *PgBouncer) writeFiles() error {
	users := filepath.Join(b.dir, "users.txt")
	if err := os.WriteFile(users, []byte(`"postgres" "`+b.server.password+`"`+"\n"), 0o600); err != nil {
		return err
	}
	settings := fmt.Sprintf(pgbouncerSettings, b.server.port.number, b.port.number, users) + strings.Join(b.settings, "\n") + "\n"
	if err := os.WriteFile(b.settingsFile(), []byte(settings), 0o600); err != nil {
		return err
	}
	return giveTo(b.server.account, users, b.settingsFile())
}

func (b *PgBouncer) settingsFile() string { return filepath.Join(b.dir, "pgbouncer.ini") }

// LogFile is where the pooler's log goes.
func (b *PgBouncer) LogFile() string { return filepath.Join(b.dir, "pgbouncer.log") }

// URL is the address of a database through the pooler.
func (b *PgBouncer) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", b.server.password), Host: b.port.Addr(),
		Path: database, RawQuery: "sslmode=disable"}
	return u.String()
}

func (b *PgBouncer) command() *exec.Cmd {
	cmd := exec.Command(b.program, b.settingsFile())
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.server.account} // it refuses to run as root, too
	return cmd
}

// Ping connects once; the server behind must run.
func (b *PgBouncer) Ping(ctx context.Context) error {
	config, err := pgx.ParseConfig(b.URL("postgres"))
	if err != nil {
		return err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(conn.Ping(ctx), conn.Close(ctx))
}

// pgbouncerProgram finds what Debian's package installed, which is not in everybody's PATH, else PATH.
func pgbouncerProgram() (string, error) {
	const debian = "/usr/sbin/pgbouncer"
	if _, err := os.Stat(debian); err == nil {
		return debian, nil
	}
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		return "", fmt.Errorf("pgbouncer: %w; Debian's package has the same name", ErrNotInstalled)
	}
	return program, nil
}
