package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
	"modulo/store"
)

func (a *app) passesCommand() *cobra.Command {
	filter := store.PassFilter{}
	var worker int
	var before string
	cmd := &cobra.Command{
		Use:   "passes JOB",
		Short: "What the passes of a job did in the last hours, newest first",
		Long: `What the passes of a job did that had rows, or did not work, newest first: the last day at most. Passes of a job at
intervals that went alike within a minute are one line. Instances write them every few seconds, "once" does too.`,
		Example: `  modulo passes outbox --limit 20
  modulo passes outbox --worker 3 --trouble -o json`,
		Args: cobra.ExactArgs(1),
	}
	limit := pageFlag(cmd)
	cmd.Flags().IntVar(&worker, "worker", 0, "only this worker; -1: only passes missed because workers had no owner")
	cmd.Flags().BoolVar(&filter.Trouble, "trouble", false, "only passes that ended early or were missed")
	cmd.Flags().StringVar(&before, "before", "", `begin behind this place: "next" of -o json, the next page`)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter.Job, filter.Limit = args[0], limit.rows
		if cmd.Flags().Changed("worker") {
			filter.Worker = &worker
		}
		var err error
		if filter.Before, err = operations.ParsePosition(before); err != nil {
			return exit(exitUsage, err)
		}
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			page, err := c.PastPasses(cmd.Context(), filter)
			if err != nil {
				return err
			}
			if err := a.printPasses(*output, page); err != nil {
				return err
			}
			return tellMore(a, page.Next)
		})
	}
	return cmd
}

func (a *app) printPasses(output outputFormat, page operations.PastPasses) error {
	p := printed{value: page, head: []string{"BEGAN", "WORKER", "PASSES", "TOOK", "SENT", "DONE", "FAILED", "REPEATED", "RESULT", "INSTANCE", "PROBLEM"}}
	for _, past := range page.Passes {
		worker := "-"
		if past.Worker != nil {
			worker = strconv.Itoa(*past.Worker)
		}
		p.rows = append(p.rows, []string{
			past.BeganAt.UTC().Format(time.RFC3339), worker, strconv.Itoa(past.Passes), (time.Duration(past.TookMS) * time.Millisecond).String(),
			strconv.Itoa(past.Sent), strconv.Itoa(past.Done), strconv.Itoa(past.Failed), strconv.Itoa(past.Repeated), string(past.Result),
			oneLine(past.Instance), problem(past.Problem),
		})
	}
	return a.print(output, p)
}
