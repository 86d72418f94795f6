package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/internal/local"
	"modulo/store"
)

// demoFlags are the flags of demo.
type demoFlags struct {
	rows, workers int
	exit          bool
}

func (a *app) demoCommand() *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Everything on this machine: private PostgreSQL and ActiveMQ, sample rows, the service, live progress",
		Long: `Everything on this machine: starts a private PostgreSQL and a private ActiveMQ on loopback ports, inserts sample rows,
runs the service and its dashboard and shows what arrives, until Ctrl-C. With --exit it drains the rows, checks every delivery and exits
with 0 only if nothing is missing. Needs the Debian packages postgresql and activemq; leaves nothing behind.`,
		Example: `  modulo demo
  modulo demo --rows 100000 --exit`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), flags) },
	}
	cmd.Flags().IntVar(&flags.rows, "rows", 10_000, "sample rows to begin with")
	cmd.Flags().IntVar(&flags.workers, "workers", 5, "number of workers `K`")
	cmd.Flags().BoolVar(&flags.exit, "exit", false, "drain the rows, check every delivery, and exit")
	return cmd
}

func (a *app) demo(ctx context.Context, flags demoFlags) error {
	if flags.rows < 1 {
		return exit(exitUsage, fmt.Errorf("--rows %d is less than 1", flags.rows))
	}
	fmt.Fprintln(a.err, "starting a private PostgreSQL and a private ActiveMQ ...")
	stopServers, err := a.startDemoServers(ctx, flags.exit)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	err = errors.Join(a.demoOn(ctx, flags), stopServers())
	if err == nil {
		fmt.Fprintln(a.err, "the private servers and all they held are removed")
	}
	return err
}

// startDemoServers starts both servers and points this app at them: with exit at the outbox alone.
func (a *app) startDemoServers(ctx context.Context, exit bool) (stop func() error, err error) {
	dir, err := local.TempDir("modulo-demo-*")
	if err != nil {
		return nil, err
	}
	cleanup := []func() error{func() error { return os.RemoveAll(dir) }}
	stop = func() error {
		var problems []error
		for i := len(cleanup) - 1; i >= 0; i-- {
			problems = append(problems, cleanup[i]())
		}
		return errors.Join(problems...)
	}
	pg, err := local.StartPostgres(ctx, local.PostgresConfig{Dir: dir + "/postgres"})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	cleanup = append(cleanup, pg.Stop)
	mq, err := local.StartActiveMQ(ctx, local.ActiveMQConfig{Dir: dir + "/activemq"})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	cleanup = append(cleanup, mq.Stop)
	a.databaseURL, a.brokerURL = pg.URL("postgres"), mq.URL()
	a.configPath = ""
	if !exit {
		if err := a.writeDemoConfig(dir); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	fmt.Fprintf(a.err, "PostgreSQL: %s\nActiveMQ:   %s (OpenWire %s)\n", a.databaseURL, a.brokerURL, mq.OpenWireURL())
	return stop, nil
}

func (a *app) demoOn(ctx context.Context, flags demoFlags) (err error) {
	a.logLevel = "warn"
	if !flags.exit {
		a.logLevel = "error" // rows of invoices fail, as they should: see the dashboard
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	c, err := a.load(config.Overrides{Workers: &flags.workers})
	if err != nil {
		return err
	}
	if err := a.migrateDemo(ctx, c); err != nil {
		return stoppedEarly(ctx, err)
	}
	app, err := openDemoApplication(ctx, a.databaseURL, a.brokerURL)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer func() { err = errors.Join(err, app.close()) }()
	fmt.Fprintf(a.err, "inserting %d events into modulo.outbox ...\n", flags.rows)
	if err := app.insert(ctx, flags.rows); err != nil {
		return stoppedEarly(ctx, err)
	}
	o := opening{grace: 15 * time.Second, farewell: 5 * time.Second, monitor: a.newMonitor(c, nil, log), log: log}
	if flags.exit {
		return a.demoService(ctx, c, o, app, flags)
	}
	if err := app.createInvoices(ctx, demoInvoices); err != nil {
		return stoppedEarly(ctx, err)
	}
	return a.demoSite(ctx, c, o, app, flags)
}

// demoSite serves the dashboard while the service runs.
func (a *app) demoSite(ctx context.Context, c *config.Config, o opening, app *demoApplication, flags demoFlags) error {
	site, closeSite, err := a.openSite(ctx, c, o)
	if err != nil {
		return err
	}
	defer closeSite()
	if o.site = site; site != nil {
		fmt.Fprintf(a.err, "Dashboard:  http://%s/\n", site.address)
	}
	return a.demoService(ctx, c, o, app, flags)
}

// demoService runs the service and shows what arrives.
func (a *app) demoService(ctx context.Context, c *config.Config, o opening, app *demoApplication, flags demoFlags) error {
	s, err := a.openService(ctx, c, o)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer s.db.Close()
	serving, stopServing := context.WithCancel(ctx)
	served, changed := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.work(serving, c, o) }()
	go func() {
		if flags.exit {
			changed <- nil
			return
		}
		changed <- a.changeDemo(serving, s.db, c, flags.workers)
	}()
	watchErr := a.watchDemo(ctx, app, s.sources["outbox"], flags)
	stopServing()
	return errors.Join(watchErr, <-served, <-changed)
}

func (a *app) migrateDemo(ctx context.Context, c *config.Config) error {
	db, err := a.database(ctx, c)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.MigrateUp(ctx)
	return err
}

// watchDemo shows the progress: until everything has arrived with --exit, else until ctx ends while the application
// goes on inserting.
func (a *app) watchDemo(ctx context.Context, app *demoApplication, source *store.Source, flags demoFlags) error {
	p := progress{out: a.out, repaint: isTerminal(a.out), began: time.Now()}
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	end := func(err error) error {
		if flags.exit || ctx.Err() == nil {
			return stoppedEarly(ctx, err)
		}
		p.finish(app.tally()) // Ctrl-C is how it is to end
		return nil
	}
	for {
		backlog, err := source.Backlog(ctx, flags.workers, max(store.BacklogLimit, flags.rows))
		if err != nil {
			return end(err)
		}
		arrived := app.tally()
		arrived.pending, arrived.failed = backlog.Pending(), backlog.Failed+backlog.Retrying
		p.show(arrived)
		if flags.exit && backlog.Pending() == 0 {
			return a.checkDemo(ctx, app, &p)
		}
		select {
		case <-ctx.Done():
			return end(ctx.Err())
		case err := <-app.lost:
			return fmt.Errorf("the demo's consumer: %w", err)
		case <-ticker.C:
		}
		if !flags.exit {
			if err := errors.Join(app.insert(ctx, demoRate/2), app.insertInvoices(ctx, demoInvoiceRate/2)); err != nil {
				return end(err)
			}
		}
	}
}

// checkDemo waits for the consumer, compares what arrived with what was inserted, and tells.
func (a *app) checkDemo(ctx context.Context, app *demoApplication, p *progress) error {
	patience, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for app.tally().arrived < app.inserted && patience.Err() == nil {
		select {
		case <-patience.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	final := app.tally()
	p.finish(final)
	if err := stoppedEarly(ctx, nil); err != nil {
		return err // what has not arrived yet may still be on its way
	}
	fmt.Fprintf(a.out, "inserted %d, arrived %d, missing %d, repeated %d\n",
		app.inserted, final.arrived, app.inserted-final.arrived, final.repeated)
	if final.arrived != app.inserted {
		return fmt.Errorf("%d events are missing", app.inserted-final.arrived)
	}
	return nil
}
