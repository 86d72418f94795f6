package main

import (
	"cmp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/operations"
	"modulo/store"
)

func (a *app) auditCommand() *cobra.Command {
	var filter store.AuditFilter
	cmd := &cobra.Command{
		Use:   "audit [JOB]",
		Short: "Who changed what, when and why, newest first; refused attempts too",
		Example: `  modulo audit
  modulo audit outbox --limit 20 -o json
  modulo audit outbox --before 1042`,
		Args: cobra.MaximumNArgs(1),
	}
	limit := pageFlag(cmd)
	cmd.Flags().Int64Var(&filter.Before, "before", 0, "begin before this entry: the next page")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter.Limit = limit.rows
		if len(args) == 1 {
			filter.Job = args[0]
		}
		return a.withConsole(cmd.Context(), func(c *operations.Console) error {
			page, err := c.Audit(cmd.Context(), filter)
			if err == nil && len(page.Entries) == 0 && filter.Job != "" {
				err = c.CheckJob(cmd.Context(), filter.Job) // a slip in a name must not look like a job that nobody touched
			}
			if err != nil {
				return err
			}
			if err := a.printAudit(*output, page); err != nil {
				return err
			}
			return tellMore(a, page.Next)
		})
	}
	return cmd
}

func (a *app) printAudit(output outputFormat, page operations.Audit) error {
	p := printed{value: page, head: []string{"ENTRY", "AT", "WHO", "ACTION", "JOB", "TARGET", "RESULT", "AFFECTED", "REASON"}}
	for _, e := range page.Entries {
		p.rows = append(p.rows, []string{
			strconv.FormatInt(e.ID, 10), e.At.UTC().Format(time.RFC3339), oneLine(e.Who), string(e.Action), e.Job, cmp.Or(oneLine(e.Target), "-"),
			oneLine(string(e.Result)), strconv.FormatInt(e.Affected, 10), cmp.Or(oneLine(e.Reason), "-"),
		})
	}
	return a.print(output, p)
}
