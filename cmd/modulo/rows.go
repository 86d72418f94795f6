package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
	"modulo/jobs"
	"modulo/store"
)

func (a *app) rowsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rows",
		Short: "See and put right the rows that failed",
		Long: `See and put right the rows that failed: the broker refused them, or they cannot be sent as they are. A failed row waits
for a person once its attempts are used up; it is never given up by itself, unless retention.failed says so.`,
	}
	cmd.AddCommand(
		a.rowsListCommand(), a.rowsGroupsCommand(), a.rowsShowCommand(),
		a.rowsRepairCommand("retry", "Try rows again, with all their attempts before them", "will be tried again",
			store.RepairRetry),
		a.rowsRepairCommand("discard", "Give rows up: they are marked done without being sent", "will be marked done without being sent",
			store.RepairDiscard),
	)
	return cmd
}

// rowFilter are the flags that pick failed rows.
type rowFilter struct {
	ids               []int64
	class, state, key string
	pattern, contains string
	since             time.Duration
}

func (f *rowFilter) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int64SliceVar(&f.ids, "id", nil, "only these row ids, separated by commas")
	flags.StringVar(&f.class, "class", "", "only this class: invalid_message, too_large, not_allowed, refused or unmarkable")
	flags.StringVar(&f.state, "state", "", "only this state: failed, retrying or discarded")
	flags.StringVar(&f.key, "key", "", "only rows of this key")
	flags.StringVar(&f.pattern, "pattern", "", "only rows whose reason, with # for numbers, is this: a group of rows groups")
	flags.StringVar(&f.contains, "contains", "", "only rows whose reason contains this, in any case")
	flags.DurationVar(&f.since, "since", 0, "only rows that failed within this time, as in 2h")
}

// filter checks the flags.
func (f *rowFilter) filter(job string) (store.FailureFilter, error) {
	filter := store.FailureFilter{Job: job, Class: jobs.Class(f.class), IDs: f.ids, Key: f.key, State: store.FailureState(f.state),
		Pattern: f.pattern, Contains: f.contains}
	if f.since > 0 {
		filter.Since = time.Now().Add(-f.since)
	}
	switch filter.State {
	case "", store.StateFailed, store.StateRetrying, store.StateDiscarded:
	default:
		return filter, exit(exitUsage, fmt.Errorf("--state %q: want failed, retrying or discarded", f.state))
	}
	if filter.Class != "" && !slices.Contains(jobs.Classes(), filter.Class) {
		return filter, exit(exitUsage, fmt.Errorf("--class %q: no such class; see --help", f.class))
	}
	return filter, nil
}

func (a *app) rowsListCommand() *cobra.Command {
	var flags rowFilter
	cmd := &cobra.Command{
		Use:   "list JOB",
		Short: "List failed rows with their reasons",
		Example: `  modulo rows list outbox
  modulo rows list outbox --class refused --since 2h -o json`,
		Args: cobra.ExactArgs(1),
	}
	flags.add(cmd)
	limit := limitFlag(cmd, limit{most: math.MaxInt}, "list at most this many (0: all)")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := flags.filter(args[0])
		if err != nil {
			return err
		}
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			return a.listFailures(cmd.Context(), c, filter, limit.rows, *output)
		})
	}
	return cmd
}

// listFailures lists limit rows, or all, page by page.
func (a *app) listFailures(ctx context.Context, c *operations.Console, filter store.FailureFilter, limit int, output outputFormat) error {
	list := []operations.Failure{}
	for {
		if limit > 0 {
			filter.Limit = limit - len(list)
		}
		page, err := c.Failures(ctx, filter)
		if err != nil {
			return err
		}
		list = append(list, page.Rows...)
		filter.After = page.Next
		if page.Next == nil || len(list) == limit {
			break
		}
	}
	if err := a.printFailures(output, list); err != nil || filter.After == nil {
		return err
	}
	count, err := c.Count(ctx, filter)
	if err == nil {
		fmt.Fprintf(a.err, "listed %d of %d: raise --limit for more\n", len(list), count)
	}
	return err
}

func (a *app) rowsGroupsCommand() *cobra.Command {
	var flags rowFilter
	cmd := &cobra.Command{
		Use:   "groups JOB",
		Short: "Count failed rows by class and reason; numbers in reasons stand as #",
		Example: `  modulo rows groups outbox
  modulo rows retry outbox --pattern "payload: # bytes, the limit is #" --dry-run`,
		Args: cobra.ExactArgs(1),
	}
	flags.add(cmd)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := flags.filter(args[0])
		if err != nil {
			return err
		}
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			groups, err := c.Groups(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return a.printGroups(*output, groups)
		})
	}
	return cmd
}

func (a *app) printGroups(output outputFormat, groups operations.Groups) error {
	p := printed{value: groups, head: []string{"ROWS", "FAILED", "CLASS", "LAST", "PATTERN"}}
	for _, g := range groups.Groups {
		p.rows = append(p.rows, []string{
			strconv.Itoa(g.Rows), strconv.Itoa(g.Failed), string(g.Class), g.LastAt.UTC().Format(time.RFC3339), oneLine(g.Pattern),
		})
	}
	if groups.Others > 0 || !groups.Complete {
		fmt.Fprintf(a.err, "%d smaller groups are not listed; all rows read: %v\n", groups.Others, groups.Complete)
	}
	return a.print(output, p)
}

func (a *app) printFailures(output outputFormat, list []operations.Failure) error {
	p := printed{value: list, head: []string{"ROW", "STATE", "CLASS", "ATTEMPTS", "LAST", "REASON"}}
	for _, f := range list {
		p.rows = append(p.rows, []string{
			strconv.FormatInt(f.RowID, 10), string(f.State), string(f.Class), strconv.Itoa(f.Attempts),
			f.LastAt.UTC().Format(time.RFC3339), oneLine(f.Error),
		})
	}
	return a.print(output, p)
}

// repairFlags are the flags of rows retry and discard.
type repairFlags struct {
	rowFilter
	actorFlags
	dryRun, yes bool
	expect      int
}

// rowsRepairCommand makes retry and discard: both show how many rows are meant before they touch them.
func (a *app) rowsRepairCommand(verb, short, happens string, repair store.Repair) *cobra.Command {
	var flags repairFlags
	cmd := &cobra.Command{
		Use:   verb + " JOB",
		Short: short,
		Long:  short + ". Without --yes it only says how many rows that would be.",
		Example: fmt.Sprintf(`  modulo rows %[1]s outbox --class refused --dry-run
  modulo rows %[1]s outbox --id 1004,1007 --yes`, verb),
		Args: cobra.ExactArgs(1),
	}
	flags.rowFilter.add(cmd)
	flags.actorFlags.add(cmd)
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "only count")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do it")
	cmd.Flags().IntVar(&flags.expect, "expect", 0, "only if exactly this many rows match")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := flags.filter(args[0])
		if err != nil {
			return err
		}
		request := operations.RepairRequest{Repair: repair, Filter: filter}
		if cmd.Flags().Changed("expect") {
			request.Expect = &flags.expect
		}
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			if flags.dryRun || !flags.yes {
				return a.countRows(cmd.Context(), c, request, flags.dryRun)
			}
			done, err := c.Repair(cmd.Context(), flags.actor(), request, a.tellRepair)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%d rows %s\n", done.Done, happens)
			return nil
		})
	}
	return cmd
}

// tellRepair tells how far a repair is that takes more than one step.
func (a *app) tellRepair(r operations.Repaired) {
	if !r.Ended {
		fmt.Fprintf(a.err, "%d of %d rows\n", r.Done, r.Matched)
	}
}

func (a *app) countRows(ctx context.Context, c *operations.Console, request operations.RepairRequest, only bool) error {
	count, err := c.CountRepair(ctx, request.Filter)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%d rows match\n", count)
	if only {
		return nil
	}
	return exit(exitRefused, fmt.Errorf("nothing was changed: say --yes to %s them", request.Repair))
}
