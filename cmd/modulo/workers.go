package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/jobs"
	"modulo/store"
)

func (a *app) workersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "See who runs the workers of a job, and change their number live",
	}
	cmd.AddCommand(a.workersListCommand(), a.workersSetCommand(), a.workersResetTokenCommand())
	return cmd
}

// workerLine is one worker of workers list -o json.
type workerLine struct {
	Worker   int     `json:"worker"`
	Of       int     `json:"of"`
	Instance string  `json:"instance,omitempty"` // empty: nobody owns it
	Host     string  `json:"host,omitempty"`
	PID      int     `json:"pid,omitempty"`
	Epoch    int64   `json:"epoch"`
	Seconds  float64 `json:"seconds"` // since it got, or lost, its owner
	Lease    float64 `json:"lease_seconds"`
	Problem  string  `json:"problem,omitempty"` // with its token
}

func (a *app) workersListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list JOB",
		Short:   "The workers of a job and the instances that own them",
		Example: "  modulo workers list outbox",
		Args:    cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withJob(cmd.Context(), args[0], func(_ *store.DB, c store.Control) error {
			return a.printWorkers(*output, c)
		})
	}
	return cmd
}

func (a *app) printWorkers(output outputFormat, c store.Control) error {
	p := printed{head: []string{"WORKER", "OWNER", "INSTANCE", "EPOCH", "SINCE", "LEASE", "PROBLEM"}}
	lines := make([]workerLine, len(c.Owners))
	for i, o := range c.Owners {
		since := time.Since(o.ChangedAt)
		lines[i] = workerLine{o.Number, c.Workers, o.Instance, o.Host, o.PID, o.Epoch, since.Seconds(), o.Expires.Seconds(), o.Problem}
		owner, lease := "-", "-"
		if o.Instance != "" {
			owner, lease = fmt.Sprintf("%s pid %d", o.Host, o.PID), o.Expires.Round(100*time.Millisecond).String()
		}
		p.rows = append(p.rows, []string{
			fmt.Sprintf("%d/%d", o.Number, c.Workers), owner, cmp.Or(o.Instance, "-"), strconv.FormatInt(o.Epoch, 10),
			since.Round(time.Second).String(), lease, cmp.Or(o.Problem, "-"),
		})
	}
	p.value = lines
	return a.print(output, p)
}

// setFlags are the flags of workers set.
type setFlags struct {
	wait, abort bool
	timeout     time.Duration
}

func (a *app) workersSetCommand() *cobra.Command {
	var flags setFlags
	cmd := &cobra.Command{
		Use:   "set JOB K",
		Short: "Change the number of workers of a job, live",
		Long: `Change the number of workers of a job, live. The workers in force finish their batches and are given back; when none has
an owner any more, the new ones begin. Nothing is lost or sent twice. With a dead instance among the owners the change
waits for the end of its lease, and for an instance that reads from the broker what the dead one had sent. It goes on by
itself; --wait only watches.`,
		Example: `  modulo workers set outbox 8 --wait
  modulo workers set outbox --abort`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().BoolVar(&flags.wait, "wait", false, "wait until the new number is in force, and show the progress")
	cmd.Flags().BoolVar(&flags.abort, "abort", false, "take back a change that is not yet in force")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 5*time.Minute, "how long --wait waits")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if flags.abort != (len(args) == 1) {
			return exit(exitUsage, errors.New("workers set: want either K or --abort"))
		}
		return a.withJob(cmd.Context(), args[0], func(db *store.DB, c store.Control) error {
			if flags.abort {
				return a.abortChange(cmd.Context(), db, c)
			}
			k, err := strconv.Atoi(args[1])
			if err != nil || k < 1 || k > jobs.MaxWorkers {
				return exit(exitUsage, fmt.Errorf("workers set: K %q is not within 1 and %d", args[1], jobs.MaxWorkers))
			}
			return a.setWorkers(cmd.Context(), db, c.Job, k, flags)
		})
	}
	return cmd
}

func (a *app) abortChange(ctx context.Context, db *store.DB, c store.Control) error {
	aborted, err := db.AbortChange(ctx, c.Job)
	if err == nil && !aborted {
		err = exit(exitRefused, fmt.Errorf("job %s is not being changed", c.Job))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: stays at %d workers\n", c.Job, c.Workers)
	return err
}

func (a *app) setWorkers(ctx context.Context, db *store.DB, job string, k int, flags setFlags) error {
	before, err := db.ChangeWorkers(ctx, job, k)
	if err != nil {
		return err
	}
	if before.Workers == k {
		_, err = fmt.Fprintf(a.out, "%s: %d workers already\n", job, k)
		return err
	}
	if !flags.wait {
		if err := db.Advance(ctx, job); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s: %d -> %d workers\n", job, before.Workers, k)
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, flags.timeout,
		fmt.Errorf("%s: %d -> %d is not in force after %s; it goes on by itself", job, before.Workers, k, flags.timeout))
	defer cancel()
	return a.watchChange(ctx, db, before, k)
}

// watchInterval is how often a change is looked at.
const watchInterval = 200 * time.Millisecond

// watchChange prints the progress whenever there is some, until the change is in force.
func (a *app) watchChange(ctx context.Context, db *store.DB, before store.Control, k int) error {
	last := -1
	for {
		if err := db.Advance(ctx, before.Job); err != nil {
			return stoppedEarly(ctx, err)
		}
		now, err := db.Control(ctx, before.Job)
		if err != nil {
			return stoppedEarly(ctx, err)
		}
		switch {
		case now.Generation > before.Generation && now.Workers == k:
			_, err := fmt.Fprintf(a.out, "%s: %d workers in force\n", before.Job, k)
			return err
		case now.Generation > before.Generation || now.Next != k:
			return exit(exitRefused, fmt.Errorf("%s: the change to %d workers was taken back or replaced by another", before.Job, k))
		}
		if released := now.Released(); released != last {
			last = released
			fmt.Fprintf(a.err, "%d -> %d: %d/%d released\n", before.Workers, k, released, before.Workers)
		}
		select {
		case <-ctx.Done():
			return stoppedEarly(ctx, context.Cause(ctx))
		case <-time.After(watchInterval):
		}
	}
}

// withJob runs a command on a job that was run before.
func (a *app) withJob(ctx context.Context, job string, do func(*store.DB, store.Control) error) error {
	return a.withSchema(ctx, func(db *store.DB, _ *config.Config) error {
		c, err := db.Control(ctx, job)
		if err != nil {
			return err
		}
		return do(db, c)
	})
}
