package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modulo/broker"
	"modulo/broker/stomp"
	"modulo/internal/config"
	"modulo/jobs"
	"modulo/store"
)

// inspectPatience bounds what the doctor asks of the broker.
const inspectPatience = 30 * time.Second

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything, change nothing, and say what to do",
		Long: `Check configuration, database, the jobs' tables, ownership, broker and tokens. Nothing is changed and nothing is sent. It ends
with 3 if something is wrong; a warning is no failure.`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := &doctor{app: a}
		d.examine(cmd.Context())
		if err := stoppedEarly(cmd.Context(), context.Cause(cmd.Context())); err != nil {
			return err
		}
		if err := d.print(*output); err != nil {
			return err
		}
		if n := d.count(statusFailure); n > 0 {
			return exit(exitDoctor, fmt.Errorf("doctor: %d of %d checks failed", n, len(d.findings)))
		}
		return nil
	}
	return cmd
}

// status is the outcome of a check.
type status string

const (
	statusOK      status = "ok"
	statusWarning status = "warning"
	statusFailure status = "failure"
)

// finding is one line of doctor -o json.
type finding struct {
	Group  string `json:"group"`
	Status status `json:"status"`
	Check  string `json:"check"`
	Hint   string `json:"hint,omitempty"`
}

// doctor collects findings. A check whose ground is missing is left out: that is told once.
type doctor struct {
	*app
	findings []finding
}

func (d *doctor) note(group string, s status, hint, check string, args ...any) {
	d.findings = append(d.findings, finding{group, s, fmt.Sprintf(check, args...), hint})
}

func (d *doctor) count(s status) (n int) {
	for _, f := range d.findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

func (d *doctor) examine(ctx context.Context) {
	c, err := d.load(config.Overrides{})
	if err != nil {
		d.note("configuration", statusFailure, "correct it", "%s", err)
		return
	}
	d.note("configuration", statusOK, "", "%d jobs", len(c.JobList()))
	db, err := d.database(ctx, c)
	if err != nil {
		d.note("database", statusFailure, "look at the address, the login and the server", "%s", err)
		d.broker(ctx, c, nil)
		return
	}
	defer db.Close()
	if err := db.CheckSchema(ctx); err != nil {
		d.note("database", statusFailure, "modulo migrate up", "%s", err)
		d.broker(ctx, c, nil)
		return
	}
	d.note("database", statusOK, "", "reached, the schema is that of this release")
	var tokens []stomp.TokenName
	for _, job := range c.JobList() {
		d.table(ctx, db, job)
		tokens = append(tokens, d.workers(ctx, db, job)...)
	}
	d.broker(ctx, c, tokens)
}

// table checks a job against its real table.
func (d *doctor) table(ctx context.Context, db *store.DB, job *jobs.Job) {
	group := "job " + job.Name
	_, warnings, err := db.OpenSource(ctx, job)
	for _, w := range warnings {
		d.note(group, statusWarning, w.Do, "%s: %s", w.Where, w.What)
	}
	if err == nil {
		d.note(group, statusOK, "", "table %s fits", job.Source.Table)
		return
	}
	problems := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		problems = joined.Unwrap()
	}
	for _, err := range problems {
		if p, ok := errors.AsType[*store.Problem](err); ok {
			d.note(group, statusFailure, p.Do, "%s: %s", p.Where, p.What)
		} else {
			d.note(group, statusFailure, "", "%s", err)
		}
	}
}

// workers checks K and owners of a job, and returns the tokens that must be on the broker.
func (d *doctor) workers(ctx context.Context, db *store.DB, job *jobs.Job) (tokens []stomp.TokenName) {
	group := "job " + job.Name
	c, err := db.Control(ctx, job.Name)
	if errors.Is(err, store.ErrNoJob) {
		d.note(group, statusOK, "", "was never run")
		return nil
	}
	made, tokensErr := db.Tokens(ctx, job.Name)
	if err = errors.Join(err, tokensErr); err != nil {
		d.note(group, statusFailure, "", "%s", err)
		return nil
	}
	switch {
	case c.Next != 0:
		d.note(group, statusWarning, "modulo workers list "+job.Name, "K is being changed from %d to %d: %d released", c.Workers, c.Next, c.Released())
	case c.Instances == 0:
		d.note(group, statusWarning, "modulo run", "no instance runs it")
	case c.Owned() < c.Workers:
		d.note(group, statusFailure, "start more instances or raise --max-workers", "%d of %d workers have no owner", c.Workers-c.Owned(), c.Workers)
	default:
		d.note(group, statusOK, "", "%d workers, %d instances", c.Workers, c.Instances)
	}
	if job.Stated && job.Workers != c.Workers {
		d.note(group, statusWarning, "state the number in force, or leave it to `modulo workers set`",
			"K is %d, the configuration says %d", c.Workers, job.Workers)
	}
	for _, t := range made {
		switch {
		case t.Number >= c.Workers || job.Repeats == jobs.RepeatsPossible:
		case t.Problem != "":
			d.note(group, statusFailure, "docs/operations.md, Tokens", "worker %d: %s", t.Number, t.Problem)
		case t.Made:
			tokens = append(tokens, stomp.TokenName{Job: job.Name, Worker: t.Number, Lineage: t.Lineage})
		}
	}
	return tokens
}

// broker logs in, and looks for the tokens.
func (d *doctor) broker(ctx context.Context, c *config.Config, tokens []stomp.TokenName) {
	mq, err := broker.New(c.BrokerConfig())
	if err != nil {
		d.note("broker", statusFailure, "correct the section broker", "%s", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, inspectPatience)
	defer cancel()
	found, err := mq.Inspect(ctx, tokens)
	if err != nil {
		d.note("broker", statusFailure, "look at the address, the login, and its rights on "+c.Broker.TokenPrefix+">", "%s", err)
		return
	}
	d.note("broker", statusOK, "", "%s at %s, confirm %s", found.Server, found.Address, found.Confirm)
	for _, job := range c.JobList() {
		if job.Repeats != jobs.RepeatsPossible && !found.Tokens {
			s := statusWarning
			if job.Repeats == jobs.RepeatsNone {
				s = statusFailure
			}
			d.note("job "+job.Name, s, "ActiveMQ Classic with confirm transaction, or repeats: possible", "rows can be repeated after a crash: this broker keeps no token")
		}
	}
	for i, count := range found.Counts {
		if count != 1 {
			d.note("broker", statusFailure, fmt.Sprintf("docs/operations.md, Tokens; modulo workers reset-token %s %d --force", tokens[i].Job, tokens[i].Worker),
				"worker %d of job %s has %d tokens, not one", tokens[i].Worker, tokens[i].Job, count)
		}
	}
	if n := len(found.Counts); n > 0 && found.Tokens {
		d.note("broker", statusOK, "", "%d token queues looked at", n)
	}
}

func (d *doctor) print(output outputFormat) error {
	if output == asJSON {
		return d.app.print(output, printed{value: d.findings})
	}
	marks := map[status]string{statusOK: "ok", statusWarning: "WARN", statusFailure: "FAIL"}
	var text strings.Builder
	group := ""
	for _, f := range d.findings {
		if f.Group != group {
			fmt.Fprintln(&text, f.Group)
			group = f.Group
		}
		fmt.Fprintf(&text, "  %-4s  %s\n", marks[f.Status], oneLine(f.Check))
		if f.Hint != "" {
			fmt.Fprintf(&text, "        -> %s\n", oneLine(f.Hint))
		}
	}
	fmt.Fprintf(&text, "%d ok, %d warnings, %d failures\n", d.count(statusOK), d.count(statusWarning), d.count(statusFailure))
	_, err := d.out.Write([]byte(text.String()))
	return err
}
