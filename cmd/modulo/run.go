package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) runCommand() *cobra.Command {
	var flags serviceFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the service: every job on its schedule until stopped",
		Long: `Run the service: every job on its schedule until SIGTERM or SIGINT. Then no new batch is begun, batches in flight get
their receipts and marks, and the process ends with 0 within --shutdown-timeout. A second signal stops at once.`,
		Example: `  modulo run --workers 5
  modulo run --config modulo.yaml --job invoices --cron "*/5 * * * *" --timezone Europe/Berlin`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd, &flags) },
	}
	flags.add(cmd)
	cmd.Flags().IntVar(&flags.maxWorkers, "max-workers", 0, "most workers of this instance, of all jobs (default: no limit)")
	return cmd
}

func (a *app) serve(cmd *cobra.Command, flags *serviceFlags) error {
	ctx := cmd.Context()
	log, err := a.logger()
	if err != nil {
		return err
	}
	if flags.maxWorkers < 0 {
		return exit(exitUsage, fmt.Errorf("--max-workers %d is negative", flags.maxWorkers))
	}
	c, err := a.load(flags.overrides(cmd))
	if err != nil {
		return err
	}
	s, err := a.openService(ctx, c, opening{
		patience: startPatience, grace: flags.grace(), farewell: flags.farewell(), maxWorkers: flags.maxWorkers, log: log,
	})
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer s.db.Close()
	for _, job := range c.JobList() {
		log.Info().Str("job", job.Name).Int("workers", job.Workers).Str("table", job.Source.Table).Int("batch", job.Batch).Msg("job starts")
	}
	log.Info().Str("version", version()).Stringer("broker", s.broker).Msg("service starts")
	asked := make(chan time.Time, 1)
	defer context.AfterFunc(ctx, func() {
		asked <- time.Now()
		log.Info().AnErr("cause", context.Cause(ctx)).Msg("stopping: no new batch; finishing those in flight")
	})()
	if err := s.Run(ctx); err != nil {
		return err
	}
	if took := time.Since(<-asked); took > flags.shutdownTimeout {
		return fmt.Errorf("stop took %s, longer than --shutdown-timeout %s", took.Round(time.Millisecond), flags.shutdownTimeout)
	}
	log.Info().Msg("stopped")
	return nil
}

// stoppedEarly is the error of a command that a signal ended before it could begin.
func stoppedEarly(ctx context.Context, err error) error {
	if cause, ok := errors.AsType[signalled](context.Cause(ctx)); ok {
		return cause
	}
	return err
}
