package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ServerState is what matters of a database server besides the tables.
type ServerState struct {
	Version       string // as in "15.13 (Debian 15.13-0+deb12u1)"
	VersionNumber int    // as in 150013
	Role          string
	Database      string
	// Blind says that the role is not shown what sessions of other roles do.
	Blind bool
	// Weakened are settings by which a crash of the server loses what it has confirmed, as in "fsync = off".
	Weakened []string
	// FreeConnections is how many more sessions the server takes from us now; as a pooler sees it, behind one.
	FreeConnections int
	// Plans are settings of the planner that sessions have on and should have off, as behind a pooler.
	Plans     []string
	RoundTrip time.Duration
	// Skew is how much the server's clock is ahead of ours, as far as it is certain; 0 where it may be right.
	Skew time.Duration
}

// PlanAdvice are the statements that turn Plans off for the role, in this database.
func (s ServerState) PlanAdvice() string {
	statements := make([]string, len(s.Plans))
	for i, name := range s.Plans {
		statements[i] = fmt.Sprintf("alter role %s in database %s set %s = off", quoteName(s.Role), quoteName(s.Database), name)
	}
	return strings.Join(statements, "; ")
}

const serverSQL = `select current_setting('server_version'), current_setting('server_version_num')::int, current_user::text, current_database()::text,
  not pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
  array(select name || ' = ' || setting from pg_settings
    where name in ('fsync', 'full_page_writes', 'synchronous_commit') and setting = 'off' order by name),
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - (select sum(numbackends) from pg_stat_database)::int,
  array(select name from pg_settings where name = any($1::text[]) and setting = 'on' order by name)`

// clockTries is how often the clocks are compared: the quickest answer tells most.
const clockTries = 3

// Server asks the server about itself.
func (db *DB) Server(ctx context.Context) (s ServerState, err error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	err = db.pool.QueryRow(ctx, serverSQL, slices.Collect(maps.Keys(planSettings))).Scan(
		&s.Version, &s.VersionNumber, &s.Role, &s.Database, &s.Blind, &s.Weakened, &s.FreeConnections, &s.Plans)
	for range clockTries {
		if err != nil {
			return s, fmt.Errorf("look at the server: %w", err)
		}
		var theirs time.Time
		asked := time.Now()
		err = db.pool.QueryRow(ctx, "select clock_timestamp()").Scan(&theirs)
		if took := time.Since(asked); s.RoundTrip == 0 || took < s.RoundTrip {
			s.RoundTrip, s.Skew = took, beyond(theirs, asked, asked.Add(took))
		}
	}
	return s, wrap("look at the server", err)
}

// beyond is how far a time lies outside of an interval.
func beyond(t, from, to time.Time) time.Duration {
	switch {
	case t.After(to):
		return t.Sub(to)
	case t.Before(from):
		return t.Sub(from)
	}
	return 0
}

// Holder keeps vacuum from removing rows that died after it began.
type Holder struct {
	Kind         string        // transaction, replication slot, prepared transaction, standby
	Name         string        // which
	Age          time.Duration // 0: not known
	Transactions int64         // begun since
}

// holdersSQL: sessions of other databases hold nothing here, and vacuum does not wait for another vacuum. $1 seconds, $2
// transactions: what is younger is left out.
const holdersSQL = `
select 'transaction', format('pid %s, %s of role %s, %s', pid, coalesce(nullif(application_name, ''), 'unnamed'), usename, state),
  extract(epoch from clock_timestamp() - xact_start)::float8, age(coalesce(backend_xmin, backend_xid))::bigint
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and coalesce(backend_xmin, backend_xid) is not null
  and backend_type <> 'autovacuum worker' and xact_start < clock_timestamp() - make_interval(secs => $1::float8)
union all
select 'replication slot', slot_name || case when active then '' else ' (nobody uses it)' end, 0, age(xmin)
from pg_replication_slots where xmin is not null and (not active or age(xmin) > $2::bigint)
union all
select 'prepared transaction', gid, extract(epoch from clock_timestamp() - prepared)::float8, age(transaction)
from pg_prepared_xacts
where database = current_database() and prepared < clock_timestamp() - make_interval(secs => $1::float8)
union all
select 'standby', coalesce(nullif(application_name, ''), client_addr::text, 'unnamed'), 0, age(backend_xmin)
from pg_stat_replication where age(backend_xmin) > $2::bigint
order by 4 desc`

// Holders lists transactions and the like that are older than given, in time or in transactions, the oldest first.
func (db *DB) Holders(ctx context.Context, age time.Duration, transactions int64) ([]Holder, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	rows, err := db.pool.Query(ctx, holdersSQL, age.Seconds(), transactions)
	if err != nil {
		return nil, fmt.Errorf("look for old snapshots: %w", err)
	}
	holders, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h Holder, err error) {
		var age float64
		err = row.Scan(&h.Kind, &h.Name, &age, &h.Transactions)
		h.Age = seconds(age)
		return h, err
	})
	return holders, wrap("look for old snapshots", err)
}

// Wear is how much of a table is dead, by the server's statistics.
type Wear struct {
	Live, Dead int64
	Vacuumed   time.Time // last, by whomever; zero: never
	// NoAutovacuum says that the table, or a partition, is left out by autovacuum, or all are.
	NoAutovacuum bool
}

const wearSQL = `select coalesce(sum(s.n_live_tup), 0)::bigint, coalesce(sum(s.n_dead_tup), 0)::bigint,
  max(greatest(s.last_vacuum, s.last_autovacuum)),
  current_setting('autovacuum') = 'off' or coalesce(bool_or('autovacuum_enabled=false' = any(c.reloptions) or 'autovacuum_enabled=off' = any(c.reloptions)), false)
from pg_class as c join pg_stat_all_tables as s on s.relid = c.oid
where c.relkind = 'r' and (c.oid = $1 or c.oid in (select p.relid from pg_partition_tree($1) as p))`

// Wear asks for the statistics of the job's table, partitions included.
func (s *Source) Wear(ctx context.Context) (w Wear, err error) {
	ctx, cancel := s.db.bounded(ctx)
	defer cancel()
	var vacuumed *time.Time
	err = s.db.pool.QueryRow(ctx, wearSQL, s.table.oid).Scan(&w.Live, &w.Dead, &vacuumed, &w.NoAutovacuum)
	if vacuumed != nil {
		w.Vacuumed = *vacuumed
	}
	return w, wrap("statistics of "+s.sql.table, err)
}

// Plan names the indexes by which the fetch reads pending rows in order; none: it sorts, or reads the whole table. The
// statement is planned and not run.
func (s *Source) Plan(ctx context.Context) (indexes []string, err error) {
	err = s.db.rolledBack(ctx, func(ctx context.Context, tx pgx.Tx) error {
		plan, err := orderedPlan(ctx, tx, s)
		indexes, _ = plan.indexes()
		return err
	})
	slices.Sort(indexes)
	return slices.Compact(indexes), wrap("plan of "+s.sql.job, err)
}
