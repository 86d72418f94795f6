package store

import (
	"context"
	"errors"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrPooled says that something needs a session that lasts, and the database URL leads to a pooler.
var ErrPooled = errors.New("the database URL leads to a pooler (PgBouncer): this needs a direct connection to the server")

// connect opens a pool and tries it. What is behind a pooler in transaction mode gets every statement anew and whole:
// neither prepared statements nor settings of the session would be there the next time.
func connect(ctx context.Context, config *pgxpool.Config) (pool *pgxpool.Pool, pooled bool, err error) {
	pool, pooled, err = tryPool(ctx, config)
	if !pooled {
		return pool, false, err
	}
	config = config.Copy()
	dropPlanSettings(config.ConnConfig)
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	pool, _, err = tryPool(ctx, config)
	return pool, true, err
}

// tryPool opens a pool. It is pooled if what answers refuses the settings for our plans, as PgBouncer does, or accepts
// and forgets them, as it does with ignore_startup_parameters; then there is no pool.
func tryPool(ctx context.Context, config *pgxpool.Config) (_ *pgxpool.Pool, pooled bool, err error) {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, false, err
	}
	wanted := config.ConnConfig.RuntimeParams["plan_cache_mode"]
	if wanted == "" {
		err = pool.Ping(ctx)
	} else {
		var is string
		err = pool.QueryRow(ctx, "select current_setting('plan_cache_mode')", pgx.QueryExecModeExec).Scan(&is)
		pooled = err == nil && is != wanted || hasCode(err, codeProtocolViolation)
	}
	if err != nil || pooled {
		pool.Close()
		return nil, pooled, err
	}
	return pool, false, nil
}

func dropPlanSettings(config *pgx.ConnConfig) {
	maps.DeleteFunc(config.RuntimeParams, func(name, _ string) bool { return planSettings[name] != "" })
}

// Pooled says whether Open found a pooler.
func (db *DB) Pooled() bool { return db.pooled }
