package main

import (
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

func (a *app) rowsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rows",
		Short: "See and put right the rows that failed",
		Long: `See and put right the rows that failed: the broker refused them, or they cannot be sent as they are. A failed row waits
for a person once its attempts are used up; it is never deleted by itself.`,
	}
	cmd.AddCommand(
		a.rowsListCommand(), a.rowsShowCommand(),
		a.rowsChangeCommand("retry", "Try rows again, with all their attempts before them", "will be tried again",
			(*store.DB).RetryFailures),
		a.rowsChangeCommand("discard", "Give rows up: they are marked done without being sent", "will be marked done without being sent",
			(*store.DB).DiscardFailures),
	)
	return cmd
}

// rowFilter are the flags that pick failed rows.
type rowFilter struct {
	ids               []int64
	class, state, key string
	since             time.Duration
}

func (f *rowFilter) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int64SliceVar(&f.ids, "id", nil, "only these row ids, separated by commas")
	flags.StringVar(&f.class, "class", "", "only this class: invalid_message, too_large, not_allowed, refused or unmarkable")
	flags.StringVar(&f.state, "state", "", "only this state: failed, retrying or discarded")
	flags.StringVar(&f.key, "key", "", "only rows of this key")
	flags.DurationVar(&f.since, "since", 0, "only rows that failed within this time, as in 2h")
}

// filter checks the flags.
func (f *rowFilter) filter(job string) (store.FailureFilter, error) {
	filter := store.FailureFilter{Job: job, Class: jobs.Class(f.class), IDs: f.ids, Key: f.key, State: store.FailureState(f.state)}
	if f.since > 0 {
		filter.Since = time.Now().Add(-f.since)
	}
	switch filter.State {
	case "", store.StateFailed, store.StateRetrying, store.StateDiscarded:
	default:
		return filter, exit(exitUsage, fmt.Errorf("--state %q: want failed, retrying or discarded", f.state))
	}
	switch filter.Class {
	case "", jobs.ClassInvalid, jobs.ClassTooLarge, jobs.ClassNotAllowed, jobs.ClassRefused, jobs.ClassUnmarkable:
	default:
		return filter, exit(exitUsage, fmt.Errorf("--class %q: no such class; see --help", f.class))
	}
	return filter, nil
}

// withSchema runs a command that needs the schema of this release.
func (a *app) withSchema(ctx context.Context, do func(*store.DB, *config.Config) error) error {
	return a.withDatabase(ctx, func(db *store.DB, c *config.Config) error {
		if err := db.CheckSchema(ctx); err != nil {
			return err
		}
		return do(db, c)
	})
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
	limit := cmd.Flags().Int("limit", 0, "list at most this many (0: all)")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := flags.filter(args[0])
		if err != nil {
			return err
		}
		filter.Limit = *limit
		return a.withSchema(cmd.Context(), func(db *store.DB, _ *config.Config) error {
			records, err := db.ListFailures(cmd.Context(), filter)
			if err != nil {
				return err
			}
			if err := a.printFailures(*output, records); err != nil || filter.Limit == 0 || len(records) < filter.Limit {
				return err
			}
			count, err := db.CountFailures(cmd.Context(), filter)
			if err == nil && count > len(records) {
				fmt.Fprintf(a.err, "listed %d of %d: raise --limit for more\n", len(records), count)
			}
			return err
		})
	}
	return cmd
}

// failureLine is one line of rows list -o json.
type failureLine struct {
	Job         string             `json:"job"`
	RowID       int64              `json:"row_id"`
	Key         *string            `json:"key"`
	EventID     string             `json:"event_id"`
	State       store.FailureState `json:"state"`
	Class       jobs.Class         `json:"class"`
	Error       string             `json:"error"`
	Attempts    int                `json:"attempts"`
	Delivered   bool               `json:"delivered"`
	NextAttempt *time.Time         `json:"next_attempt_at"`
	FirstAt     time.Time          `json:"first_failed_at"`
	LastAt      time.Time          `json:"last_failed_at"`
}

func lineOf(r store.FailureRecord) failureLine {
	line := failureLine{
		Job: r.Job, RowID: r.RowID, Key: r.Key, EventID: r.EventID, State: r.State, Class: r.Class, Error: r.Error,
		Attempts: r.Attempts, Delivered: r.Delivered, FirstAt: r.CreatedAt, LastAt: r.UpdatedAt,
	}
	if r.State == store.StateRetrying {
		line.NextAttempt = &r.NextAttemptAt
	}
	return line
}

func (a *app) printFailures(output outputFormat, records []store.FailureRecord) error {
	p := printed{head: []string{"ROW", "STATE", "CLASS", "ATTEMPTS", "LAST", "REASON"}}
	lines := make([]failureLine, len(records))
	for i, r := range records {
		lines[i] = lineOf(r)
		p.rows = append(p.rows, []string{
			strconv.FormatInt(r.RowID, 10), string(r.State), string(r.Class), strconv.Itoa(r.Attempts),
			r.UpdatedAt.UTC().Format(time.RFC3339), oneLine(r.Error),
		})
	}
	p.value = lines
	return a.print(output, p)
}

func (a *app) rowsShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show JOB ROW",
		Short: "Show all that is known of a failed row",
		Args:  cobra.ExactArgs(2),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return exit(exitUsage, fmt.Errorf("row %q is not a number", args[1]))
		}
		return a.withSchema(cmd.Context(), func(db *store.DB, _ *config.Config) error {
			record, err := db.GetFailure(cmd.Context(), args[0], id)
			if errors.Is(err, store.ErrNoFailure) {
				return fmt.Errorf("job %s, row %d: %w: it is pending, done or unknown", args[0], id, err)
			}
			if err != nil {
				return err
			}
			return a.printFailure(*output, lineOf(record))
		})
	}
	return cmd
}

func (a *app) printFailure(output outputFormat, line failureLine) error {
	optional := func(at *time.Time) string {
		if at == nil {
			return "-"
		}
		return at.UTC().Format(time.RFC3339)
	}
	key := "-"
	if line.Key != nil {
		key = *line.Key
	}
	return a.print(output, printed{value: line, head: []string{"row", strconv.FormatInt(line.RowID, 10)}, rows: [][]string{
		{"job", line.Job}, {"event_id", line.EventID}, {"key", key}, {"state", string(line.State)},
		{"class", string(line.Class)}, {"attempts", strconv.Itoa(line.Attempts)},
		{"delivered", strconv.FormatBool(line.Delivered)}, {"first failed", optional(&line.FirstAt)},
		{"last failed", optional(&line.LastAt)}, {"next attempt", optional(line.NextAttempt)}, {"reason", oneLine(line.Error)},
	}})
}

// rowsChangeCommand makes retry and discard: both show how many rows are meant before they touch them.
func (a *app) rowsChangeCommand(verb, short, happens string, change func(*store.DB, context.Context, store.FailureFilter) (int, error)) *cobra.Command {
	var flags rowFilter
	cmd := &cobra.Command{
		Use:   verb + " JOB",
		Short: short,
		Long:  short + ". Without --yes it only says how many rows that would be.",
		Example: fmt.Sprintf(`  modulo rows %[1]s outbox --class refused --dry-run
  modulo rows %[1]s outbox --id 1004,1007 --yes`, verb),
		Args: cobra.ExactArgs(1),
	}
	flags.add(cmd)
	dryRun := cmd.Flags().Bool("dry-run", false, "only count")
	yes := cmd.Flags().Bool("yes", false, "do it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := flags.filter(args[0])
		if err != nil {
			return err
		}
		return a.withSchema(cmd.Context(), func(db *store.DB, _ *config.Config) error {
			if *dryRun || !*yes {
				count, err := db.CountFailures(cmd.Context(), filter)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%d rows match\n", count)
				if *dryRun {
					return nil
				}
				return exit(exitRefused, fmt.Errorf("nothing was changed: say --yes to %s them", verb))
			}
			count, err := change(db, cmd.Context(), filter)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%d rows %s\n", count, happens)
			return nil
		})
	}
	return cmd
}
