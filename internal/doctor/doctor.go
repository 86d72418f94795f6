// Package doctor checks an installation from its configuration to its broker: what is wrong, and what to do about it. It
// refuses nothing and changes nothing in the database. On the broker it sends one message to a queue of its own and takes it
// back, if asked to.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"modulo/broker"
	"modulo/broker/stomp"
	"modulo/internal/config"
	"modulo/jobs"
	"modulo/store"
)

// Status is the outcome of a check.
type Status string

const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, but not well, or not for long
	Failure Status = "failure"
)

// Finding is what one check found. Group and Name are fixed words, so that others can look for them; docs/doctor.md explains
// each name. Check and Hint are for people.
type Finding struct {
	Group  string `json:"group"` // configuration, database, job NAME, instances, broker, doctor
	Name   string `json:"name"`
	Status Status `json:"status"`
	Check  string `json:"check"`
	Hint   string `json:"hint,omitempty"`
}

// Report is all findings, in the order of their groups.
type Report []Finding

// Count is how many findings have the status.
func (r Report) Count(s Status) (n int) {
	for _, f := range r {
		if f.Status == s {
			n++
		}
	}
	return n
}

// Config says what to examine and how to get there.
type Config struct {
	// Load reads the configuration. Its error is a finding.
	Load func() (*config.Config, error)
	// Database opens it. Its error is a finding. The doctor closes it.
	Database func(context.Context, *config.Config) (*store.DB, error)
	// Broker makes the broker of a configuration without connecting: broker.New.
	Broker  func(broker.Config) (broker.Broker, error)
	Version string // of this program
	Canary  bool   // send a message to the broker, and read it back
	// OldSnapshot is how old a transaction may be without being told of. Default 15m.
	OldSnapshot time.Duration
}

// Limits of what counts as well.
const (
	brokerPatience = 30 * time.Second // for all that is asked of the broker
	tolerableSkew  = time.Second
	defaultOldest  = 15 * time.Minute // snapshot
	oldXmin        = 1_000_000        // transactions
	manyDead       = 100_000          // rows, and as many as live ones
	longWait       = 5 * time.Minute
	longUnswept    = 48 * time.Hour
	minVersion     = 130000 // of PostgreSQL: gen_random_uuid() is built in
)

// examination collects findings. What a missing ground keeps from being checked is left out: that is told once.
type examination struct {
	Config
	c      *config.Config
	report Report
}

func (e *examination) note(group, name string, s Status, hint, check string, args ...any) {
	e.report = append(e.report, Finding{group, name, s, fmt.Sprintf(check, args...), hint})
}

// Examine makes all checks. What cannot be reached is a finding, and the rest is checked all the same.
func Examine(ctx context.Context, cfg Config) Report {
	e := &examination{Config: cfg}
	if e.OldSnapshot == 0 {
		e.OldSnapshot = defaultOldest
	}
	var err error
	if e.c, err = cfg.Load(); err != nil {
		e.note("configuration", "configuration", Failure, "correct it: docs/configuration.md", "%s", err)
		return e.report
	}
	e.configuration()
	tokens := e.database(ctx)
	e.broker(ctx, tokens)
	return e.report.byGroup()
}

// byGroup keeps the order of groups, and that within each.
func (r Report) byGroup() Report {
	order := map[string]int{}
	for _, f := range r {
		if _, known := order[f.Group]; !known {
			order[f.Group] = len(order)
		}
	}
	slices.SortStableFunc(r, func(a, b Finding) int { return order[a.Group] - order[b.Group] })
	return r
}

func (e *examination) configuration() {
	const group = "configuration"
	list := e.c.JobList()
	e.note(group, "configuration", OK, "", "%d jobs, modulo %s", len(list), e.Version)
	if e.c.Broker.Heartbeat <= 0 {
		for _, job := range list {
			if job.Repeats != jobs.RepeatsPossible {
				e.note(group, "heartbeat", Warning, "set broker.heartbeat, or repeats: possible",
					"without heart-beats the broker does not notice that the owner of a token is cut off: its worker may wait for ever")
				break
			}
		}
	}
}

// database checks the server, the jobs and the instances, and returns the tokens that must be on the broker.
func (e *examination) database(ctx context.Context) (tokens []stomp.TokenName) {
	const group = "database"
	db, err := e.Database(ctx, e.c)
	if err != nil {
		e.note(group, "reach", Failure, "look at the address, the login and the server", "%s", err)
		return nil
	}
	defer db.Close()
	e.server(ctx, db)
	e.snapshots(ctx, db)
	if err := db.CheckSchema(ctx); err != nil {
		hint := "grant usage on schema modulo, select, insert, update, delete on its tables, and usage on sequence modulo.epoch to the role; or look at the server"
		if _, ok := errors.AsType[*store.SchemaError](err); ok {
			hint = "modulo migrate up, with this release"
		}
		e.note(group, "schema", Failure, hint, "%s", err)
		return nil
	}
	e.note(group, "schema", OK, "", "the schema modulo is that of this release")
	e.rights(ctx, db)
	var sound []*jobs.Job
	for _, job := range e.c.JobList() {
		source := e.table(ctx, db, job)
		if source != nil {
			sound = append(sound, job)
			e.wear(ctx, source, job)
		}
		tokens = append(tokens, e.workers(ctx, db, source, job)...)
	}
	e.wakeups(ctx, db, sound)
	e.retention(ctx, db)
	e.instances(ctx, db)
	return tokens
}
