package doctor

import (
	"context"
	"errors"
	"strings"
	"time"

	"modulo/broker/stomp"
	"modulo/jobs"
	"modulo/store"
)

// table checks a job against its real table; nil where it does not fit.
func (e *examination) table(ctx context.Context, db *store.DB, job *jobs.Job) *store.Source {
	group := "job " + job.Name
	source, warnings, err := db.OpenSource(ctx, job)
	for _, w := range warnings {
		e.note(group, w.Where, Warning, w.Do, "%s", w.What)
	}
	for _, err := range each(err) {
		if p, ok := errors.AsType[*store.Problem](err); ok {
			e.note(group, p.Where, Failure, p.Do, "%s", p.What)
		} else {
			e.note(group, "table", Failure, "look at the server", "%s", err)
		}
	}
	if err != nil {
		return nil
	}
	e.note(group, "table", OK, "", "table %s fits, the rights suffice", job.Source.Table)
	indexes, err := source.Plan(ctx)
	switch {
	case err != nil:
		e.note(group, "plan", Failure, "look at the server", "%s", err)
	case len(indexes) > 0:
		e.note(group, "plan", OK, "", "the fetch reads by index %s", strings.Join(indexes, ", "))
	case len(warnings) == 0:
		e.note(group, "plan", OK, "", "no index serves the fetch; the table is small enough for that")
	}
	return source
}

// wear looks at dead rows of the job's table.
func (e *examination) wear(ctx context.Context, source *store.Source, job *jobs.Job) {
	group := "job " + job.Name
	w, err := source.Wear(ctx)
	if err != nil {
		e.note(group, "dead-rows", Failure, "look at the server", "%s", err)
		return
	}
	if w.NoAutovacuum {
		e.note(group, "autovacuum", Warning, "turn it on: docs/operations.md, Autovacuum", "autovacuum leaves table %s out", job.Source.Table)
	}
	vacuumed := "never vacuumed"
	if !w.Vacuumed.IsZero() {
		vacuumed = "last vacuumed " + w.Vacuumed.UTC().Format(time.RFC3339)
	}
	if w.Dead > manyDead && w.Dead > w.Live {
		e.note(group, "dead-rows", Warning, "vacuum "+job.Source.Table+"; and let autovacuum come earlier: docs/operations.md, Autovacuum",
			"%d rows are dead, %d live, %s", w.Dead, w.Live, vacuumed)
		return
	}
	e.note(group, "dead-rows", OK, "", "%d rows are dead, %d live, %s", w.Dead, w.Live, vacuumed)
}

// workers checks K, owners and what is left to do, and returns the tokens that must be on the broker. source may be nil.
func (e *examination) workers(ctx context.Context, db *store.DB, source *store.Source, job *jobs.Job) []stomp.TokenName {
	group := "job " + job.Name
	c, err := db.Control(ctx, job.Name)
	if errors.Is(err, store.ErrNoJob) {
		e.note(group, "workers", OK, "", "was never run")
		return nil
	}
	if err != nil {
		e.note(group, "workers", Failure, "look at the server", "%s", err)
		return nil
	}
	switch {
	case c.Next != 0:
		e.note(group, "workers", Warning, "modulo workers list "+job.Name, "K is being changed from %d to %d: %d released", c.Workers, c.Next, c.Released())
	case c.Instances == 0:
		e.note(group, "workers", Warning, "modulo run", "no instance runs it")
	case c.Owned() < c.Workers:
		e.note(group, "workers", Failure, "start more instances or raise --max-workers", "%d of %d workers have no owner", c.Workers-c.Owned(), c.Workers)
	default:
		e.note(group, "workers", OK, "", "%d workers, %d instances", c.Workers, c.Instances)
	}
	if c.Paused {
		e.note(group, "paused", Warning, "modulo resume "+job.Name, "it is paused")
	}
	if job.Stated && job.Workers != c.Workers {
		e.note(group, "wish", Warning, "state the number in force, or leave it to `modulo workers set`",
			"K is %d, the configuration says %d", c.Workers, job.Workers)
	}
	e.backlog(ctx, source, job, c)
	return e.tokens(ctx, db, job, c)
}

// backlogLimit bounds what counting pending rows costs.
const backlogLimit = 10_000

// backlog tells of rows that wait for a person, and of rows that wait although somebody runs the job.
func (e *examination) backlog(ctx context.Context, source *store.Source, job *jobs.Job, c store.Control) {
	if source == nil {
		return
	}
	group := "job " + job.Name
	b, err := source.Backlog(ctx, c.Workers, backlogLimit)
	if err != nil {
		e.note(group, "backlog", Failure, "look at the server", "%s", err)
		return
	}
	if b.Failed > 0 {
		e.note(group, "failed", Warning, "modulo rows list "+job.Name, "%d rows have failed and wait for a person", b.Failed)
	}
	if c.Owned() > 0 && !c.Paused && job.Schedule.Cron == "" && b.Oldest() > longWait {
		e.note(group, "backlog", Warning, "modulo status "+job.Name, "a row has been waiting for %s", b.Oldest().Round(time.Second))
	}
}

// tokens returns those that were made and have no problem that is written down already.
func (e *examination) tokens(ctx context.Context, db *store.DB, job *jobs.Job, c store.Control) (names []stomp.TokenName) {
	group := "job " + job.Name
	made, err := db.Tokens(ctx, job.Name)
	if err != nil {
		e.note(group, "token", Failure, "look at the server", "%s", err)
		return nil
	}
	for _, t := range made {
		switch {
		case t.Number >= c.Workers || job.Repeats == jobs.RepeatsPossible:
		case t.Problem != "":
			e.note(group, "token", Failure, "docs/operations.md, Tokens", "worker %d: %s", t.Number, t.Problem)
		case t.Made:
			names = append(names, stomp.TokenName{Job: job.Name, Worker: t.Number, Lineage: t.Lineage})
		}
	}
	return names
}
