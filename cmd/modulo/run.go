package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/internal/monitor"
	"modulo/internal/operations"
	"modulo/internal/retention"
	"modulo/internal/traces"
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
	flags.addRun(cmd)
	return cmd
}

// serve is the service from its site to the clean stop. Whatever goes on beside its workers ends after them, last what began first.
func (a *app) serve(cmd *cobra.Command, flags *serviceFlags) error {
	ctx := cmd.Context()
	log, err := a.logger()
	if err != nil {
		return err
	}
	c, err := a.loadFor(cmd, flags)
	if err != nil {
		return err
	}
	exporter, err := a.exporter(c, log)
	if err != nil {
		return err
	}
	o := opening{
		patience: startPatience, grace: flags.grace(), farewell: flags.farewell(), maxWorkers: flags.maxWorkers,
		monitor: a.newMonitor(c, exporter, log), log: log,
	}
	site, closeSite, err := a.openSite(ctx, c, o)
	if err != nil {
		return err
	}
	defer closeSite()
	o.site = site
	if exporter != nil {
		o.tracer = exporter
		defer beside(context.WithoutCancel(ctx), exporter.Run)()
	}
	s, err := a.openService(ctx, c, o)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer s.db.Close()
	return s.runUntilStopped(ctx, c, o, flags.shutdownTimeout)
}

func (a *app) newMonitor(c *config.Config, exporter *traces.Exporter, log zerolog.Logger) *monitor.Monitor {
	settings := monitor.Config{Jobs: c.JobList(), Version: version(), Lease: c.Timing().Lease, Patience: c.Patience(), Log: log}
	if exporter != nil {
		settings.Traces = exporter.Counts
	}
	return monitor.New(settings)
}

// runUntilStopped runs the service and tells its story. A stop that takes longer than the timeout is an error.
func (s *service) runUntilStopped(ctx context.Context, c *config.Config, o opening, timeout time.Duration) error {
	log := o.log
	for _, job := range s.jobs {
		log.Info().Str("job", job.Name).Int("workers", job.Workers).Str("table", job.Source.Table).Int("batch", job.Batch).Msg("job starts")
	}
	log.Info().Str("version", version()).Stringer("broker", s.broker).Msg("service starts")
	asked := make(chan time.Time, 1)
	defer context.AfterFunc(ctx, func() {
		asked <- time.Now()
		log.Info().AnErr("cause", context.Cause(ctx)).Msg("stopping: no new batch; finishing those in flight")
	})()
	if err := s.work(ctx, c, o); err != nil {
		return err
	}
	if took := time.Since(<-asked); took > timeout {
		return fmt.Errorf("stop took %s, longer than --shutdown-timeout %s", took.Round(time.Millisecond), timeout)
	}
	log.Info().Msg("stopped")
	return nil
}

// work runs the workers until ctx ends. Beside them old rows are removed, people see and do what the site offers, and what
// the workers do is noted in the database.
func (s *service) work(ctx context.Context, c *config.Config, o opening) error {
	removal, err := s.retention(c, o)
	if err != nil {
		return err
	}
	if len(removal.Sweeps) > 0 {
		defer beside(ctx, func(ctx context.Context) { retention.Run(ctx, removal) })()
	}
	o.monitor.Runs()
	defer context.AfterFunc(ctx, o.monitor.Stops)()
	if o.site != nil {
		console, err := s.console(c, o)
		if err != nil {
			return err
		}
		if err := o.site.open(console); err != nil {
			return err
		}
		defer o.site.close()
		defer beside(ctx, console.Watch, func(ctx context.Context) { o.monitor.Sample(ctx, s.db, s.tables()) })()
	}
	defer s.notes(ctx, o)()
	return s.Run(ctx)
}

// console is what the site shows of the service.
func (s *service) console(c *config.Config, o opening) (*operations.Console, error) {
	settings, err := c.Settings()
	if err != nil {
		return nil, err
	}
	return operations.New(operations.Config{
		DB: s.db, Jobs: s.jobs, Sources: s.sources, Counted: o.monitor.Counted, Settings: settings, Doctor: o.site.doctor,
	}), nil
}

// lastNotes is how many last notes of progress fit into the farewell, of which jobs.Service needs half and the rest is slack.
const lastNotes = 6

// notes begins to note in the database what the workers do. They end by end, not by ctx: the last batches still get their marks.
func (s *service) notes(ctx context.Context, o opening) (end func()) {
	return beside(context.WithoutCancel(ctx), func(ctx context.Context) { o.monitor.Tell(ctx, s.db, o.farewell/lastNotes) })
}

// tables are the sources as the monitor wants them.
func (s *service) tables() map[string]monitor.Table {
	tables := map[string]monitor.Table{}
	for name, source := range s.sources {
		tables[name] = source
	}
	return tables
}

// stoppedEarly is err, or the signal that ended ctx if one did: whatever that broke off, it decides the exit code.
func stoppedEarly(ctx context.Context, err error) error {
	if cause, ok := errors.AsType[signalled](context.Cause(ctx)); ok {
		return cause
	}
	return err
}
