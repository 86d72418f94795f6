package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
)

func (a *app) instancesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "instances",
		Short: "What runs: the instances, their releases, how many workers each owns, what is left of their leases",
		Example: `  modulo instances
  modulo instances -o json`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			list, err := c.Instances(cmd.Context())
			if err != nil {
				return err
			}
			return a.printInstances(*output, list)
		})
	}
	return cmd
}

func (a *app) printInstances(output outputFormat, list []operations.Instance) error {
	p := printed{value: list, head: []string{"INSTANCE", "PROCESS", "STATE", "VERSION", "SINCE", "WORKERS", "LEASE", "JOBS"}}
	for _, i := range list {
		p.rows = append(p.rows, []string{
			i.Instance, fmt.Sprintf("%s pid %d", i.Host, i.PID), stateOfInstance(i), i.Version, i.StartedAt.UTC().Format(time.RFC3339),
			workersOf(i), age(max(i.LeaseSeconds, 0)), strings.Join(i.Jobs, ","),
		})
	}
	return a.print(output, p)
}

// stateOfInstance tells one that is dead, and whose row nobody has removed yet, from those that live.
func stateOfInstance(i operations.Instance) string {
	switch {
	case i.LeaseSeconds <= 0:
		return "lease over"
	case i.Stopping:
		return "stopping"
	}
	return "running"
}

// workersOf is how many workers an instance owns, of how many at most if it has a limit.
func workersOf(i operations.Instance) string {
	owned := strconv.Itoa(i.Owned)
	if i.MaxWorkers != nil && !i.Stopping {
		owned += " of " + strconv.Itoa(*i.MaxWorkers) + " at most"
	}
	return owned
}
