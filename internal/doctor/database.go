package doctor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"modulo/jobs"
	"modulo/store"
)

// listenPatience is how long a notification may take.
const listenPatience = 2 * time.Second

// besidePool is how many connections an instance uses besides max_conns: heartbeats, ticks, and one that listens.
const besidePool = 3

func (e *examination) server(ctx context.Context, db *store.DB) {
	const group = "database"
	s, err := db.Server(ctx)
	if err != nil {
		e.note(group, "reach", Failure, "look at the server", "%s", err)
		return
	}
	e.note(group, "reach", OK, "", "reached as role %s, round trip %s", s.Role, s.RoundTrip.Round(10*time.Microsecond))
	if s.VersionNumber < minVersion {
		e.note(group, "version", Failure, "use PostgreSQL 13 or newer", "PostgreSQL %s is too old", s.Version)
	} else {
		e.note(group, "version", OK, "", "PostgreSQL %s", s.Version)
	}
	if db.Pooled() {
		e.note(group, "pooler", OK, "", "behind a pooler: no prepared statements; migrations need the address of the server itself")
	} else {
		e.note(group, "pooler", OK, "", "no pooler in between")
	}
	if len(s.Plans) > 0 {
		e.note(group, "planner", Warning, s.PlanAdvice()+"; for a role that nobody else uses",
			"the sessions lack settings that keep the fetch on its index: %s", strings.Join(s.Plans, ", "))
	} else {
		e.note(group, "planner", OK, "", "the sessions have the settings that keep the fetch on its index")
	}
	e.skew(group, "clock", s.Skew, "the database server")
	if len(s.Weakened) == 0 {
		e.note(group, "durability", OK, "", "none of fsync, full_page_writes and synchronous_commit is off")
	}
	for _, weak := range s.Weakened {
		e.note(group, "durability", Warning, "turn it on: a crash of the server may forget what it has confirmed, and rows are sent again", "%s", weak)
	}
	needed := e.c.Database.MaxConns + besidePool
	if len(e.c.Retention.Kept()) > 0 {
		needed++
	}
	switch {
	case db.Pooled(): // which shares them out
	case s.FreeConnections >= needed:
		e.note(group, "connections", OK, "", "the server has room for %d more connections, one more instance wants up to %d", s.FreeConnections, needed)
	default:
		e.note(group, "connections", Warning, "raise max_connections of the server, or lower database.max_conns",
			"the server has room for %d more connections; one more instance may want %d", s.FreeConnections, needed)
	}
	if s.Blind {
		e.note(group, "visibility", OK, "", "role %s is not shown the sessions of others (grant pg_read_all_stats): some old snapshots are not seen", s.Role)
	}
}

// rights looks at tables and sequence of Modulo itself; those on the tables of jobs are a part of their checks.
func (e *examination) rights(ctx context.Context, db *store.DB) {
	const group, name = "database", "rights"
	missing, err := db.MissingRights(ctx, slices.Collect(maps.Keys(e.c.Retention.Kept())))
	switch {
	case err != nil:
		e.note(group, name, Failure, "look at the server", "%s", err)
	case len(missing) > 0:
		var rights, grants []string
		for _, m := range missing {
			rights, grants = append(rights, m.Right), append(grants, m.Grant)
		}
		e.note(group, name, Failure, strings.Join(grants, "; "), "the role lacks %s", strings.Join(rights, "; "))
	default:
		e.note(group, name, OK, "", "the role may read and write the tables of the schema modulo, and use its sequence")
	}
}

// skew judges a clock that is ahead of ours.
func (e *examination) skew(group, name string, skew time.Duration, whose string) {
	if skew.Abs() < tolerableSkew {
		e.note(group, name, OK, "", "the clock of %s agrees with ours", whose)
		return
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	e.note(group, name, Warning, "synchronise the clocks (NTP): leases, rates and ages do not depend on it, but cron schedules, --since and the times of passes and logs do",
		"the clock of %s is %s %s ours", whose, skew.Abs().Round(time.Millisecond), direction)
}

// snapshots looks for what keeps vacuum from its work: then each fetch walks over more and more dead entries.
func (e *examination) snapshots(ctx context.Context, db *store.DB) {
	const group = "database"
	holders, err := db.Holders(ctx, e.OldSnapshot, oldXmin)
	if err != nil {
		e.note(group, "snapshots", Failure, "look at the server", "%s", err)
		return
	}
	for _, h := range holders {
		age := ""
		if h.Age > 0 {
			age = h.Age.Round(time.Second).String() + " old, "
		}
		hint := map[string]string{
			"transaction":          "end it, by pg_terminate_backend if need be; set idle_in_transaction_session_timeout",
			"replication slot":     "drop it if nobody needs it, or let its standby catch up",
			"prepared transaction": "commit prepared or rollback prepared it",
			"standby":              "end the long query there, or turn hot_standby_feedback off",
		}[h.Kind]
		e.note(group, "snapshots", Warning, hint, "%s %s is %s%d transactions behind: rows that died since cannot be removed", h.Kind, h.Name, age, h.Transactions)
	}
	if len(holders) == 0 {
		e.note(group, "snapshots", OK, "", "nothing old keeps dead rows")
	}
}

// instances lists who runs, and with which release.
func (e *examination) instances(ctx context.Context, db *store.DB) {
	const group = "instances"
	all, err := db.Instances(ctx)
	if err != nil {
		e.note(group, "instances", Failure, "look at the server", "%s", err)
		return
	}
	alive := slices.DeleteFunc(all, func(m store.Instance) bool { return m.Expires <= 0 })
	if len(alive) == 0 {
		e.note(group, "instances", Warning, "modulo run", "none is alive")
	}
	for _, m := range alive {
		if m.Version != e.Version {
			e.note(group, "instances", Warning, "finish the rollout", "%s pid %d runs %s, this is %s", m.Host, m.PID, m.Version, e.Version)
		} else {
			e.note(group, "instances", OK, "", "%s pid %d runs %s", m.Host, m.PID, strings.Join(m.Jobs, ", "))
		}
	}
}

// retention looks whether old rows go, as the configuration wants it.
func (e *examination) retention(ctx context.Context, db *store.DB) {
	const group, name = "database", "retention"
	r := e.c.Retention
	kept := r.Kept()
	if len(kept) == 0 {
		return
	}
	if r.Done != 0 && !slices.ContainsFunc(e.c.JobList(), func(job *jobs.Job) bool { return job.Source.Table == store.OutboxTable }) {
		e.note(group, name, Warning, "set it where such a job runs", "retention.done does nothing here: no job of this configuration is on %s", store.OutboxTable)
	}
	list, err := db.Retained(ctx)
	if err != nil {
		e.note(group, name, Failure, "grant select, insert, update on modulo.retention to the role; or look at the server", "%s", err)
		return
	}
	if len(list) == 0 {
		e.note(group, name, OK, "", "no instance has looked for old rows yet")
	}
	for _, kind := range list {
		switch {
		case kept[kind.Kind] == 0: // asked for once, and not any more
		case kind.Swept.IsZero() && time.Since(kind.Expires) < longUnswept:
			e.note(group, name, OK, "", "old %s rows: %d removed, the first look at all is not over", kind.Kind, kind.Removed)
		case time.Since(kind.Swept) > longUnswept:
			e.note(group, name, Warning, "look at the log of the instances for retention; it gives way while there is a backlog",
				"old %s rows: not all were looked at for two days", kind.Kind)
		default:
			e.note(group, name, OK, "", "old %s rows: %d removed, all looked at %s", kind.Kind, kind.Removed, kind.Swept.UTC().Format(time.RFC3339))
		}
	}
}

// wakeups looks whether inserts would be heard of. Without that the clock goes on, so nothing here is a failure.
func (e *examination) wakeups(ctx context.Context, db *store.DB, list []*jobs.Job) {
	listening := slices.DeleteFunc(slices.Clone(list), func(job *jobs.Job) bool { return !job.Listen })
	if len(listening) == 0 {
		return
	}
	const group = "database"
	wakeups, err := db.NewWakeups(store.WakeupConfig{Jobs: listening, URL: e.c.Database.ListenURL, Patience: listenPatience})
	if err == nil {
		err = wakeups.Check(ctx)
	}
	for _, err := range each(err) {
		if p, ok := errors.AsType[*store.Problem](err); ok {
			e.note(group, p.Where, Warning, p.Do, "%s", p.What)
			continue
		}
		hint := "look at database.listen_url"
		if db.Pooled() && e.c.Database.ListenURL == "" {
			hint = "set database.listen_url to the address of the server itself: a pooler drops notifications"
		}
		e.note(group, "listen", Warning, hint, "inserts wake nobody, only the clock begins passes: %s", err)
	}
	if err == nil {
		e.note(group, "listen", OK, "", "a notification arrives")
	}
}

// each takes joined errors apart.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
