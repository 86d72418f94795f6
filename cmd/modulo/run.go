package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/internal/monitor"
	"modulo/internal/operations"
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
	o := opening{patience: startPatience, grace: flags.grace(), farewell: flags.farewell(), maxWorkers: flags.maxWorkers, log: log}
	if exporter != nil {
		o.tracer = exporter
	}
	o.monitor = a.newMonitor(c, exporter, log)
	return a.besideSite(ctx, c, o, func(o opening, _ net.Listener) error {
		return besideTraces(ctx, exporter, func() error { return a.runService(ctx, c, flags, o) })
	})
}

func (a *app) newMonitor(c *config.Config, exporter *traces.Exporter, log zerolog.Logger) *monitor.Monitor {
	settings := monitor.Config{Jobs: c.JobList(), Version: version(), Lease: c.Timing().Lease, Patience: c.Patience(), Log: log}
	if exporter != nil {
		settings.Traces = exporter.Counts
	}
	return monitor.New(settings)
}

// runService is the service from waiting for the database to the clean stop.
func (a *app) runService(ctx context.Context, c *config.Config, flags *serviceFlags, o opening) error {
	log := o.log
	s, err := a.openService(ctx, c, o)
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
	if err := s.besideRetention(ctx, c, o, func() error { return s.runMonitored(ctx, c, o) }); err != nil {
		return err
	}
	if took := time.Since(<-asked); took > flags.shutdownTimeout {
		return fmt.Errorf("stop took %s, longer than --shutdown-timeout %s", took.Round(time.Millisecond), flags.shutdownTimeout)
	}
	log.Info().Msg("stopped")
	return nil
}

// lastNotes is how many last notes of progress fit into the farewell, of which jobs.Service needs half and the rest is slack.
const lastNotes = 6

// runMonitored runs the service while others tell what it does, count what is pending, and do what people ask for by HTTP.
func (s *service) runMonitored(ctx context.Context, c *config.Config, o opening) error {
	settings, err := c.Settings()
	if err != nil {
		return err
	}
	m := o.monitor
	m.Runs()
	defer context.AfterFunc(ctx, m.Stops)()
	shown := operations.Config{DB: s.db, Jobs: s.jobs, Sources: s.sources, Counted: m.Counted, Settings: settings}
	if o.site != nil {
		shown.Doctor = o.site.doctor
	}
	console := operations.New(shown)
	if o.site != nil {
		if err := o.site.open(console); err != nil {
			return err
		}
		defer o.site.close()
	}
	beside, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	if o.site != nil {
		others.Go(func() { m.Sample(beside, s.db, s.tables()) })
		others.Go(func() { console.Watch(beside) })
	}
	err = s.besideNotes(ctx, o, func() error { return s.Run(ctx) })
	stop()
	others.Wait()
	return err
}

// besideNotes notes in the database what the workers do, until the last batches have their marks.
func (s *service) besideNotes(ctx context.Context, o opening, work func() error) error {
	noting, stop := context.WithCancel(context.WithoutCancel(ctx))
	var notes sync.WaitGroup
	notes.Go(func() { o.monitor.Tell(noting, s.db, o.farewell/lastNotes) })
	err := work()
	stop()
	notes.Wait()
	return err
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
