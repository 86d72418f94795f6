package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
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

func (a *app) workersListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list JOB",
		Short:   "The workers of a job, the instances that own them, and how far each has come",
		Example: "  modulo workers list outbox",
		Args:    cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withTables(cmd.Context(), args[:1], func(c *operations.Console) error {
			job, err := c.Job(cmd.Context(), args[0])
			if err == nil && job.Generation == 0 {
				err = fmt.Errorf("job %s: %w", args[0], store.ErrNoJob)
			}
			if err != nil {
				return err
			}
			return a.printWorkers(*output, job)
		})
	}
	return cmd
}

func (a *app) printWorkers(output outputFormat, job operations.Job) error {
	p := printed{
		value: job.PerWorker,
		head:  []string{"WORKER", "OWNER", "INSTANCE", "EPOCH", "SINCE", "LEASE", "BACKLOG", "OLDEST", "ROWS/S", "PROGRESS", "PROBLEM"},
	}
	for _, w := range job.PerWorker {
		owner, lease, wrong := "-", "-", w.Problem
		if w.Instance != "" {
			owner, lease = fmt.Sprintf("%s pid %d", w.Host, w.PID), age(w.LeaseSeconds)
		}
		if wrong == "" && w.LastPass != nil && w.Instance != "" {
			wrong = w.LastPass.Problem
		}
		backlog := atLeast(w.Backlog, job.BacklogComplete)
		if w.Skewed {
			backlog += fmt.Sprintf(" (%.1f x)", w.Skew)
		}
		p.rows = append(p.rows, []string{
			fmt.Sprintf("%d/%d", w.Worker, w.Of), owner, cmp.Or(w.Instance, "-"), strconv.FormatInt(w.Epoch, 10),
			time.Duration(w.OwnerSeconds * float64(time.Second)).Round(time.Second).String(), lease, backlog, age(w.OldestSeconds),
			rate(w.RowsPerSecond), ago(w.ProgressAt), problem(wrong),
		})
	}
	return a.print(output, p)
}

// setFlags are the flags of workers set.
type setFlags struct {
	actorFlags
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
  modulo workers set outbox 8 --abort`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().BoolVar(&flags.wait, "wait", false, "wait until the new number is in force, and show the progress")
	cmd.Flags().BoolVar(&flags.abort, "abort", false, "take back a change that is not yet in force; with K only a change to K")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 5*time.Minute, "how long --wait waits")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k := 0
		switch {
		case len(args) == 2:
			var err error
			if k, err = strconv.Atoi(args[1]); err != nil || k < 1 || k > jobs.MaxWorkers {
				return exit(exitUsage, fmt.Errorf("workers set: K %q is not within 1 and %d", args[1], jobs.MaxWorkers))
			}
		case !flags.abort:
			return exit(exitUsage, errors.New("workers set: want K or --abort"))
		}
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			if flags.abort {
				return a.abortChange(cmd.Context(), c, store.WorkersChange{Job: args[0], Workers: k}, flags.actor())
			}
			return a.setWorkers(cmd.Context(), c, args[0], k, flags)
		})
	}
	flags.add(cmd)
	return cmd
}

func (a *app) abortChange(ctx context.Context, c *operations.Console, change store.WorkersChange, by store.Actor) error {
	job := change.Job
	aborted, err := c.AbortChange(ctx, by, change)
	if err == nil && !aborted {
		err = exit(exitRefused, fmt.Errorf("job %s is not being changed", job))
	}
	if err != nil {
		return err
	}
	now, err := c.Change(ctx, job)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: stays at %d workers\n", job, now.Workers)
	return err
}

func (a *app) setWorkers(ctx context.Context, c *operations.Console, job string, k int, flags setFlags) error {
	before, err := c.SetWorkers(ctx, flags.actor(), store.WorkersChange{Job: job, Workers: k})
	if err != nil {
		return err
	}
	if before.Workers == k {
		_, err = fmt.Fprintf(a.out, "%s: %d workers already\n", job, k)
		return err
	}
	if !flags.wait {
		if _, err := c.Advance(ctx, job); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s: %d -> %d workers\n", job, before.Workers, k)
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, flags.timeout,
		fmt.Errorf("%s: %d -> %d is not in force after %s; it goes on by itself", job, before.Workers, k, flags.timeout))
	defer cancel()
	return a.watchChange(ctx, c, before, k)
}

// watchInterval is how often a change is looked at.
const watchInterval = 200 * time.Millisecond

// watchChange prints the progress whenever there is some, until the change is in force.
func (a *app) watchChange(ctx context.Context, c *operations.Console, before operations.Change, k int) error {
	last := -1
	for {
		now, err := c.Advance(ctx, before.Job)
		if err != nil {
			return stoppedEarly(ctx, err)
		}
		switch {
		case now.Generation > before.Generation && now.Workers == k:
			_, err := fmt.Fprintf(a.out, "%s: %d workers in force\n", before.Job, k)
			return err
		case now.Generation > before.Generation || now.ChangingTo != k:
			return exit(exitRefused, fmt.Errorf("%s: the change to %d workers was taken back or replaced by another", before.Job, k))
		}
		if now.Released != last {
			last = now.Released
			fmt.Fprintf(a.err, "%d -> %d: %d/%d released\n", before.Workers, k, now.Released, before.Workers)
		}
		select {
		case <-ctx.Done():
			return stoppedEarly(ctx, context.Cause(ctx))
		case <-time.After(watchInterval):
		}
	}
}
