package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"modulo/broker"
	"modulo/internal/bench"
	"modulo/internal/config"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	bench.Plan
	rounds, rows int
	roundTime    time.Duration
	rivals       string
	file         string
	own          bool // servers were named on the command line
}

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure rows per second here, beside what the broker and the database take at most",
		Long: `Measure rows per second here, beside what the broker and the database take at most: private PostgreSQL and ActiveMQ on
loopback ports, or your own servers where --database-url and --broker-url are both given. There it works in a database of
its own (which takes the right to create one) and in queues whose names begin with modulo_bench_, and removes both.

Cases are measured by turns, each in every round, after a round that warms them up; the median counts. Every round checks
that the queue got exactly the rows. Progress goes to standard error, the tables, or with -o json everything, to standard
output.`,
		Example: `  modulo bench
  modulo bench --cases ceiling,modulo --workers 5,16 --rounds 3
  modulo bench -o json > bench.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			// Before the environment is read: nobody's servers are put under load because of a variable.
			f.own = cmd.Flags().Changed("database-url") || cmd.Flags().Changed("broker-url")
			return cobra.NoArgs(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.Groups, "cases", []string{"ceiling", "database", "modulo"}, "what to measure: "+strings.Join(bench.Groups(), ", "))
	flags.StringVar(&f.Match, "match", "", "only cases whose names match this regular `expression`")
	flags.IntSliceVar(&f.Workers, "workers", []int{1, 5, 16}, "numbers of workers `K`, for the case modulo")
	flags.StringSliceVar(&f.Confirm, "confirm", []string{bench.Transaction}, "transaction, receipt or both, for the cases ceiling and modulo")
	flags.IntVar(&f.Payload, "payload", 512, "`bytes` of a row's payload")
	flags.DurationVar(&f.Delay, "delay", 20*time.Millisecond, "how late confirmations are in the case delayed")
	flags.IntVar(&f.rounds, "rounds", 5, "how often each case is measured")
	flags.IntVar(&f.rows, "rows", 100_000, "most rows of a round")
	flags.DurationVar(&f.roundTime, "round-time", 3*time.Second, "about how long a round is to take")
	flags.StringVar(&f.rivals, "rivals", "", "`directory` of the other programs, as \"make bench\" builds them: original, plain, river")
	flags.StringVar(&f.file, "json-file", "", "also write everything to this `file`, as -o json does")
	format := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.bench(cmd.Context(), f, *format) }
	return cmd
}

func (a *app) bench(ctx context.Context, f benchFlags, format outputFormat) error {
	var own *bench.Servers
	if f.own {
		var err error
		if own, err = a.ownServers(); err != nil {
			return err
		}
	}
	if own != nil && f.rivals != "" {
		return exit(exitUsage, errors.New("--rivals: the other programs are measured on private servers only"))
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	report, err := bench.Run(ctx, bench.Config{
		Plan: f.Plan, Rounds: f.rounds, Rows: f.rows, RoundTime: f.roundTime, Program: program, Version: version(),
		Rivals: f.rivals, Own: own, Progress: a.err,
	})
	switch {
	case errors.Is(err, bench.ErrPlan):
		return exit(exitUsage, err)
	case errors.Is(err, bench.ErrRefused):
		return exit(exitRefused, err)
	case err != nil:
		return stoppedEarly(ctx, err)
	}
	if f.file != "" {
		if err := a.writeReport(f.file, report); err != nil {
			return err
		}
	}
	if format == asJSON {
		return a.print(asJSON, printed{value: report})
	}
	return report.Print(a.out)
}

func (a *app) writeReport(file string, report *bench.Report) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	err = (&app{terminal: terminal{out: out}}).print(asJSON, printed{value: report})
	return errors.Join(err, out.Close())
}

// ownServers are those of the flags, with what the configuration says about the broker besides.
func (a *app) ownServers() (*bench.Servers, error) {
	if a.databaseURL == "" || a.brokerURL == "" {
		return nil, exit(exitUsage, errors.New("--database-url and --broker-url: give both to measure your own servers, or none"))
	}
	c, err := a.load(config.Overrides{})
	if err != nil {
		return nil, err
	}
	settings := c.BrokerConfig()
	hosts, err := broker.Hosts(settings)
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("configuration: %w", err))
	}
	return &bench.Servers{DatabaseURL: a.databaseURL, Broker: settings, Hosts: hosts}, nil
}
