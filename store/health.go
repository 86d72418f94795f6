package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"modulo/jobs"
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

// missingRightsSQL leaves out the record of migrations, tables that are not ours, and of modulo.outbox, which is the table of a
// job, what OpenSource looks at. Rows of the audit and of the outbox are deleted by retention only: $1 are the tables where it does so.
const missingRightsSQL = `select m.needed, quote_ident(current_user) from (
select c.relname, string_agg(p.name, ', ' order by p.n) || ' on modulo.' || c.relname as needed
from pg_class as c, unnest(array['select', 'insert', 'update', 'delete']) with ordinality as p (name, n)
where c.relnamespace = 'modulo'::regnamespace and c.relkind in ('r', 'p')
  and c.relname in ('jobs', 'instances', 'workers', 'failures', 'tokens', 'audit', 'progress', 'retention', 'passes', 'outbox')
  and (p.name <> 'delete' or c.relname not in ('audit', 'progress', 'retention', 'outbox') or c.relname = any($1::text[]))
  and (p.name = 'delete' or c.relname <> 'outbox') and not has_table_privilege(c.oid, p.name)
group by c.relname
union all
select null, 'usage on sequence modulo.epoch' where not ` + mayNumberSQL + `
) as m order by m.relname nulls last`

// mayNumberSQL says whether the role may give out epochs. To plan a statement that does so needs no right.
const mayNumberSQL = `has_sequence_privilege('modulo.epoch', 'usage, update')`

// MissingRight is a right that the role lacks, as in "insert, update on modulo.audit", and the statement that grants it.
type MissingRight struct{ Right, Grant string }

// MissingRights are what the role lacks on tables and sequence of the schema; retention says of which kinds of rows (done,
// audit) it is to delete the old ones. Other rights on the tables of jobs are what OpenSource looks at.
func (db *DB) MissingRights(ctx context.Context, retention []string) ([]MissingRight, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var swept []string
	for _, kind := range retention {
		switch kind {
		case kindDone:
			swept = append(swept, "outbox")
		case kindAudit:
			swept = append(swept, "audit")
		}
	}
	rows, err := db.pool.Query(ctx, missingRightsSQL, swept)
	if err != nil {
		return nil, fmt.Errorf("look at rights: %w", err)
	}
	missing, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m MissingRight, err error) {
		var role string
		err = row.Scan(&m.Right, &role)
		m.Grant = "grant " + m.Right + " to " + role
		return m, err
	})
	return missing, wrap("look at rights", err)
}

// CheckEpochs returns a *Problem if the role may not number owners, which whoever runs workers has to, and nobody else.
func (db *DB) CheckEpochs(ctx context.Context) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	may, role := false, ""
	if err := db.pool.QueryRow(ctx, "select "+mayNumberSQL+", current_user").Scan(&may, &role); err != nil {
		return fmt.Errorf("look at rights: %w", err)
	}
	if may {
		return nil
	}
	return &Problem{
		Where: "rights", What: "role " + role + " may not use sequence modulo.epoch",
		Do: "grant usage on sequence modulo.epoch to " + quoteName(role) + "; `modulo doctor` says what else is missing",
	}
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
	check := &sourceCheck{db: s.db, table: s.table}
	err = check.rolledBack(ctx, func(ctx context.Context, tx pgx.Tx) error {
		plan, err := orderedPlan(ctx, tx, s)
		if err != nil {
			return err
		}
		scans, sorted := plan.scans()
		for _, scan := range scans {
			if scan.Index == "" || sorted {
				indexes = nil
				return nil
			}
			indexes = append(indexes, scan.Index)
		}
		return nil
	})
	slices.Sort(indexes)
	return slices.Compact(indexes), wrap("plan of "+s.sql.job, err)
}

// Check tells what keeps inserts from waking the workers, without changing it: a *Problem for each table whose trigger is
// missing or disabled, and what Listen would fail with.
func (w *Wakeups) Check(ctx context.Context) error {
	problems := w.eachTable(func(job *jobs.Job) error {
		t, err := w.db.lookUpTrigger(ctx, job.Source.Table)
		if err == nil && !t.enabled {
			err = t.problem()
		}
		return err
	})
	if len(w.Jobs) > 0 {
		problems = append(problems, w.hear(ctx))
	}
	return errors.Join(problems...)
}

// hear listens for a notification of its own, once.
func (w *Wakeups) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*w.Patience)
	defer cancel()
	defer w.session.close(ctx)
	err := w.session.use(ctx, func(conn *pgx.Conn) error {
		if err := w.subscribe(ctx, conn); err != nil {
			return err
		}
		proof := "proof " + uuid.NewString()
		if err := w.notify(ctx, proof); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, w.Patience, ErrDeaf)
		defer cancel()
		for {
			notification, err := conn.WaitForNotification(ctx)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil || notification.Payload == proof {
				return err
			}
		}
	})
	return wrap("listen", err)
}
