package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Jobs, their workers and owners, backlog, age of the oldest pending row, failed rows",
		Args:  cobra.MaximumNArgs(1),
	}
	output, every := outputFlag(cmd), watchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := a.withTables(cmd.Context(), args, func(c *operations.Console) error {
			return a.watch(cmd.Context(), *every, *output, func(a *app) error {
				list, err := statusOf(cmd.Context(), c, args)
				if err != nil {
					return err
				}
				return a.printStatus(*output, list)
			})
		})
		if _, ended := errors.AsType[signalled](err); ended && *every > 0 {
			return nil // there is no other end
		}
		return err
	}
	return cmd
}

// statusOf looks at the named job, or at all.
func statusOf(ctx context.Context, c *operations.Console, names []string) ([]operations.Job, error) {
	if len(names) == 0 {
		overview, err := c.Overview(ctx)
		return overview.Jobs, err
	}
	job, err := c.Job(ctx, names[0])
	return []operations.Job{job}, err
}

func (a *app) printStatus(output outputFormat, list []operations.Job) error {
	p := printed{value: list, head: []string{"JOB", "STATE", "OWNED", "BACKLOG", "OLDEST", "ROWS/S", "FAILED", "RETRYING", "LAST PASS", "NEXT", "PROBLEM"}}
	for _, job := range list {
		if job.BacklogProblem != "" {
			fmt.Fprintf(a.err, "the rows of %s are not counted: %s\n", job.Job, oneLine(job.BacklogProblem))
		}
		state, backlog := job.Text(), atLeast(job.Backlog, job.BacklogComplete)
		if !job.Configured {
			state, backlog = state+", not configured here", "-"
		}
		p.rows = append(p.rows, []string{
			job.Job, state, fmt.Sprintf("%d/%d", job.Owned, job.Workers), backlog,
			age(job.OldestSeconds), rate(job.RowsPerSecond), strconv.Itoa(job.Failed), strconv.Itoa(job.Retrying),
			ago(job.PassAt), nextPass(job), problem(jobProblem(job)),
		})
	}
	return a.print(output, p)
}

// jobProblem is why a last pass ended early, or else what is wrong with a token.
func jobProblem(job operations.Job) string {
	text := job.Problem
	for _, w := range job.PerWorker {
		text = cmp.Or(text, w.Problem)
	}
	return text
}

func atLeast(count int, complete bool) string {
	if complete {
		return strconv.Itoa(count)
	}
	return fmt.Sprintf(">= %d", count)
}

func age(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// ago is how long ago something was; nil: never.
func ago(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return time.Since(*at).Round(time.Second).String() + " ago"
}

// nextPass is when the clock begins one; at intervals it is always about to.
func nextPass(job operations.Job) string {
	switch {
	case job.NextAt == nil:
		return "-"
	case job.ByInterval:
		return job.Schedule
	}
	return "in " + time.Until(*job.NextAt).Round(time.Second).String()
}

func rate(rowsPerSecond float64) string { return strconv.FormatFloat(rowsPerSecond, 'f', 0, 64) }

// oneLine makes text of a broker or a database fit into a table, and keeps what would move the cursor from a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
}

// problemWidth is how many characters of a problem fit into a table; -o json and the log have all of it.
const problemWidth = 80

// problem makes one short line of what is wrong; "-" where nothing is.
func problem(text string) string {
	line := []rune(oneLine(text))
	switch {
	case len(line) == 0:
		return "-"
	case len(line) > problemWidth:
		return string(line[:problemWidth-1]) + "…"
	}
	return string(line)
}
