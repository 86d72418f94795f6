package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
	"modulo/store"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.controlCommand("pause", "Stop a job in all instances: batches in flight are finished, no new one begins",
		"paused: takes effect within a tick", func(ctx context.Context, c *operations.Console, by store.Actor, job string) error {
			return c.Pause(ctx, by, job, true)
		})
}

func (a *app) resumeCommand() *cobra.Command {
	return a.controlCommand("resume", "Go on with a paused job in all instances", "goes on",
		func(ctx context.Context, c *operations.Console, by store.Actor, job string) error {
			return c.Pause(ctx, by, job, false)
		})
}

func (a *app) triggerCommand() *cobra.Command {
	return a.controlCommand("trigger", "Begin a pass of every worker of a job now, in all instances", "triggered",
		func(ctx context.Context, c *operations.Console, by store.Actor, job string) error {
			return c.Trigger(ctx, by, job)
		})
}

// controlCommand is a command that changes what all instances agree on about a job.
func (a *app) controlCommand(verb, short, done string, do func(context.Context, *operations.Console, store.Actor, string) error) *cobra.Command {
	var flags actorFlags
	cmd := &cobra.Command{
		Use:     verb + " JOB",
		Short:   short,
		Example: fmt.Sprintf("  modulo %[1]s outbox\n  modulo %[1]s outbox --reason \"ticket 4711\"", verb),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withConsole(cmd.Context(), func(c *operations.Console) error {
				if err := do(cmd.Context(), c, flags.actor(), args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.out, "%s: %s\n", args[0], done)
				return err
			})
		},
	}
	flags.add(cmd)
	return cmd
}
