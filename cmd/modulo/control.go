package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"modulo/store"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.controlCommand("pause", "Stop a job in all instances: batches in flight are finished, no new one begins",
		"paused: takes effect within a tick", func(ctx context.Context, db *store.DB, job string) (bool, error) {
			return db.Pause(ctx, job, true)
		})
}

func (a *app) resumeCommand() *cobra.Command {
	return a.controlCommand("resume", "Go on with a paused job in all instances", "goes on",
		func(ctx context.Context, db *store.DB, job string) (bool, error) { return db.Pause(ctx, job, false) })
}

func (a *app) triggerCommand() *cobra.Command {
	return a.controlCommand("trigger", "Begin a pass of every worker of a job now, in all instances", "triggered",
		func(ctx context.Context, db *store.DB, job string) (bool, error) { return db.Trigger(ctx, job) })
}

// controlCommand is a command that changes what all instances agree on about a job.
func (a *app) controlCommand(verb, short, done string, do func(context.Context, *store.DB, string) (bool, error)) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " JOB",
		Short:   short,
		Example: fmt.Sprintf("  modulo %s outbox", verb),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withJob(cmd.Context(), args[0], func(db *store.DB, c store.Control) error {
				if _, err := do(cmd.Context(), db, c.Job); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "%s: %s\n", c.Job, done)
				return err
			})
		},
	}
}
