// Package store keeps Modulo's state in PostgreSQL: it reads and marks the rows of a job, records failures and
// ownership, and migrates the schema modulo. Everything that speaks SQL is here.
package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Defaults of Config.
const (
	DefaultMaxConns         = 16
	DefaultStatementTimeout = time.Minute
)

const (
	applicationName = "modulo" // unless the URL has another
	connectTimeout  = 5 * time.Second
	readBuffer      = 64 << 10 // of a connection: pgx alone asks for 8 kB at a time
)

// closePatience is how long Close waits for a server that does not answer goodbyes.
const closePatience = 500 * time.Millisecond

// planSettings keep the plans of the few statements that are run again and again.
var planSettings = map[string]string{
	"plan_cache_mode":   "force_generic_plan", // or each fetch is planned anew, which walks the dead ends of the index
	"enable_seqscan":    "off",                // or a plan made while a table was empty outlives its growth
	"enable_bitmapscan": "off",                // or all pending rows are read and sorted to find the first thousand
	"jit":               "off",                // compiling takes longer than any of them runs
}

// Config says which database and how much of it. The zero value of a field means its default.
type Config struct {
	// URL is postgres://... or key=value pairs; empty means the PG* variables.
	URL string
	// MaxConns is the size of the pool. Two per worker are used under load; fewer make workers wait for each other.
	MaxConns int
	// StatementTimeout ends each call that takes longer, waiting for a connection included.
	StatementTimeout time.Duration
}

// DB is a database with the schema modulo. Safe for concurrent use.
type DB struct {
	pool       *pgxpool.Pool
	pooled     bool   // behind a pooler
	timeline   string // expression
	timeout    time.Duration
	batchBytes int
}

// Open connects once, to find mistakes early, and finds out whether there is a pooler in between. The error satisfies IsUnreachable where trying again may help.
// It refuses a read-only server unless the URL sets target_session_attrs.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	poolConfig, err := poolConfig(cfg)
	if err != nil {
		return nil, err
	}
	db := &DB{timeout: orDefault(cfg.StatementTimeout, DefaultStatementTimeout), batchBytes: mostBatchBytes}
	call, cancel := db.bounded(ctx)
	defer cancel()
	if db.pool, db.pooled, err = connect(call, poolConfig); err != nil {
		return nil, fmt.Errorf("database: %w", explainConnect(err))
	}
	if db.timeline, err = db.findTimeline(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("database: %w", err)
	}
	return db, nil
}

// Close ends all connections; it waits for those in use. A server that has stopped answering does not hold it up: pgx
// gives its connections up after another 15 seconds, or the end of the process does.
func (db *DB) Close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		db.pool.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closePatience):
	}
}

// bounded gives a call its deadline.
func (db *DB) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, db.timeout)
}

func poolConfig(cfg Config) (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errors.New("database URL: " + unparsable(err))
	}
	pc.AfterConnect = registerIDs
	pc.MaxConns = int32(orDefault(cfg.MaxConns, DefaultMaxConns))
	conn := pc.ConnConfig
	conn.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, readBuffer), w)
	}
	// Behind a pooler notifications for others may come, and pgx would keep them.
	conn.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {}
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectTimeout
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = applicationName
	}
	if !chosen(cfg.URL, "target_session_attrs", "PGTARGETSESSIONATTRS") {
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	// In another mode, as behind a pooler, every call is planned anew.
	if conn.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		maps.Copy(conn.RuntimeParams, planSettings)
	}
	return pc, nil
}

// chosen says whether the user set a connection parameter, which the parsed form no longer tells.
func chosen(connString, key, variable string) bool {
	if os.Getenv(variable) != "" {
		return true
	}
	if u, err := url.Parse(connString); err == nil && u.Scheme != "" {
		return u.Query().Has(key)
	}
	return strings.Contains(connString, key)
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
