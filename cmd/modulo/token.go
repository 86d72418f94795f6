package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
)

// resetFlags are the flags of workers reset-token.
type resetFlags struct {
	actorFlags
	yes, force bool
}

func (a *app) workersResetTokenCommand() *cobra.Command {
	var flags resetFlags
	cmd := &cobra.Command{
		Use:   "reset-token JOB [WORKER]",
		Short: "Make the tokens of workers anew that wait because theirs are gone or doubled",
		Long: `Make tokens anew. A worker keeps a token on the broker that says what it has sent; without it the worker waits, because it
cannot know whether rows that have no done mark were sent. After a reset it goes on: rows that were sent, but not marked, are sent
again, at most the rows in flight, two batches per worker, each with the event_id it had.

Only workers with a problem are meant (see "modulo workers list"), unless --force is given: then make sure that no other
instance still holds a token. Without --yes it only says what would be done.`,
		Example: `  modulo workers reset-token outbox
  modulo workers reset-token outbox 3 --yes`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&flags.force, "force", false, "also tokens without a known problem")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var worker *int
		if len(args) == 2 {
			number, err := strconv.Atoi(args[1])
			if err != nil {
				return exit(exitUsage, fmt.Errorf("reset-token: worker %q is not a number", args[1]))
			}
			worker = &number
		}
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			return a.resetTokens(cmd, c, args[0], worker, flags)
		})
	}
	flags.add(cmd)
	return cmd
}

func (a *app) resetTokens(cmd *cobra.Command, c *operations.Console, job string, worker *int, flags resetFlags) error {
	tokens, err := c.Tokens(cmd.Context(), job)
	if err != nil {
		return err
	}
	meant := 0
	for _, t := range tokens {
		if (worker == nil || t.Worker == *worker) && t.Made && (flags.force || t.Problem != "") {
			meant++
			fmt.Fprintf(a.err, "worker %d: %s\n", t.Worker, cmp.Or(t.Problem, "no problem is known"))
		}
	}
	if meant == 0 {
		return exit(exitRefused, errors.New("reset-token: no token with a problem is meant; see --force"))
	}
	if !flags.yes {
		_, err := fmt.Fprintf(a.out, "%d tokens would be made anew: --yes does it; rows in flight may be sent again\n", meant)
		return err
	}
	reset, err := c.ResetTokens(cmd.Context(), flags.actor(), job, worker, flags.force)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%d tokens are made anew by the workers' owners\n", reset)
	return err
}
