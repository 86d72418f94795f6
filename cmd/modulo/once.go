package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modulo/jobs"
)

func (a *app) onceCommand() *cobra.Command {
	var flags serviceFlags
	cmd := &cobra.Command{
		Use:   "once [JOB...]",
		Short: "One pass of every worker of the jobs now, then exit",
		Long: `One pass of every worker of the jobs now, in this process, then exit: 0 if every pending row was delivered, 4 if rows
failed (see modulo rows list JOB), 5 if database or broker could not be reached. What was not delivered is still pending.`,
		Example: `  modulo once --workers 5
  modulo once invoices --config modulo.yaml -o json`,
	}
	flags.add(cmd, "most workers at the same time, of all jobs; the others follow; 0: no limit")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flags.jobs = append(flags.jobs, args...)
		return a.drainOnce(cmd, &flags, *output)
	}
	return cmd
}

func (a *app) drainOnce(cmd *cobra.Command, flags *serviceFlags, output outputFormat) error {
	ctx := cmd.Context()
	log, err := a.logger()
	if err != nil {
		return err
	}
	c, err := a.loadFor(cmd, flags)
	if err != nil {
		return err
	}
	o := opening{grace: flags.grace(), farewell: flags.farewell(), alone: true, maxWorkers: flags.maxWorkers, monitor: a.newMonitor(c, nil, log), log: log}
	s, err := a.openService(ctx, c, o)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer s.db.Close()
	endNotes := s.notes(ctx, o)
	summaries, err := s.Once(ctx)
	endNotes()
	if summaries == nil {
		return stoppedEarly(ctx, err)
	}
	if printErr := a.printSummaries(output, summaries); printErr != nil {
		return errors.Join(printErr, err)
	}
	if err != nil || ctx.Err() != nil {
		return stoppedEarly(ctx, err)
	}
	return failedRows(summaries)
}

// failedRows is the error of rows that failed; nil: none did.
func failedRows(summaries []jobs.Summary) error {
	failed := 0
	var lists []string
	for _, summary := range summaries {
		if n := summary.Outcome.Failed; n > 0 {
			failed, lists = failed+n, append(lists, "`modulo rows list "+summary.Job+"`")
		}
	}
	if failed == 0 {
		return nil
	}
	return exit(exitFailedRows, fmt.Errorf("%d rows failed: see %s", failed, strings.Join(lists, ", ")))
}

// onceSummary is one job's line of once -o json.
type onceSummary struct {
	Job      string  `json:"job"`
	Workers  int     `json:"workers"`
	Sent     int     `json:"sent"`
	Done     int     `json:"done"`
	Failed   int     `json:"failed"`
	Repeated int     `json:"repeated"`
	Seconds  float64 `json:"seconds"`
}

func (a *app) printSummaries(output outputFormat, summaries []jobs.Summary) error {
	p := printed{head: []string{"JOB", "WORKERS", "SENT", "DONE", "FAILED", "REPEATED", "TOOK"}}
	lines := make([]onceSummary, len(summaries))
	for i, s := range summaries {
		o := s.Outcome
		lines[i] = onceSummary{s.Job, s.Workers, o.Sent, o.Done, o.Failed, o.Repeated, o.Took.Seconds()}
		p.rows = append(p.rows, []string{
			s.Job, strconv.Itoa(s.Workers), strconv.Itoa(o.Sent), strconv.Itoa(o.Done), strconv.Itoa(o.Failed),
			strconv.Itoa(o.Repeated), o.Took.Round(time.Millisecond).String(),
		})
	}
	p.value = lines
	return a.print(output, p)
}
