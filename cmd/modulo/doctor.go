package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"modulo/broker"
	"modulo/internal/config"
	"modulo/internal/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	var flags serviceFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything, change nothing, and say what to do",
		Long: `Check configuration, database, the jobs' tables, instances, broker and tokens, as run would have them with the same flags
and variables. Nothing is changed in the database. On ActiveMQ Classic one message, the canary, is sent to a queue of its
own and taken back. It ends with 3 if something is wrong; a warning is no failure. docs/doctor.md explains each check.`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd)
	flags.addRun(cmd)
	noCanary := cmd.Flags().Bool("no-canary", false, "send nothing to the broker")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		examination := a.examination(!*noCanary)
		examination.Load = func() (*config.Config, error) { return a.loadFor(cmd, &flags) }
		report := doctor.Examine(cmd.Context(), examination)
		if err := stoppedEarly(cmd.Context(), context.Cause(cmd.Context())); err != nil {
			return err
		}
		if err := a.printReport(*output, report); err != nil {
			return err
		}
		if n := report.Count(doctor.Failure); n > 0 {
			return exit(exitDoctor, fmt.Errorf("doctor: %d of %d checks failed", n, len(report)))
		}
		return nil
	}
	return cmd
}

// examination is what a doctor needs to know of this program, but for the configuration.
func (a *app) examination(canary bool) doctor.Config {
	return doctor.Config{
		Database: a.database, Broker: broker.New, Version: version(), Canary: canary,
	}
}

func (a *app) printReport(output outputFormat, report doctor.Report) error {
	if output == asJSON {
		return a.print(output, printed{value: report})
	}
	marks := map[doctor.Status]string{doctor.OK: "ok", doctor.Warning: "WARN", doctor.Failure: "FAIL"}
	var text strings.Builder
	group := ""
	for _, f := range report {
		if f.Group != group {
			fmt.Fprintln(&text, f.Group)
			group = f.Group
		}
		fmt.Fprintf(&text, "  %-4s  %s: %s\n", marks[f.Status], f.Name, oneLine(f.Check))
		if f.Hint != "" {
			fmt.Fprintf(&text, "        -> %s\n", oneLine(f.Hint))
		}
	}
	fmt.Fprintf(&text, "%d ok, %d warnings, %d failures\n", report.Count(doctor.OK), report.Count(doctor.Warning), report.Count(doctor.Failure))
	_, err := a.out.Write([]byte(text.String()))
	return err
}
