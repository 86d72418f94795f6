package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"modulo/broker"
	"modulo/broker/stomp"
	"modulo/internal/config"
	"modulo/internal/monitor"
	"modulo/jobs"
	"modulo/store"
)

// startPatience is how long the service waits for a database that is not up yet.
const startPatience = time.Minute

// serviceFlags are the flags of run and once, and of what looks at the same configuration.
type serviceFlags struct {
	workers, batch, window int
	http                   string // of run
	traces                 string // of run
	pprof                  bool   // of run
	every                  time.Duration
	cron, timezone         string
	confirm, repeats       string
	jobs                   []string
	maxWorkers             int
	shutdownTimeout        time.Duration
}

// add adds the flags; most says what --max-workers means to this command.
func (f *serviceFlags) add(cmd *cobra.Command, most string) {
	flags := cmd.Flags()
	flags.IntVar(&f.workers, "workers", 0, "number of workers `K` of each job")
	flags.IntVar(&f.batch, "batch", 0, "most rows fetched, sent and marked together")
	flags.DurationVar(&f.every, "every", 0, "time between the passes of a worker")
	flags.StringVar(&f.cron, "cron", "", "cron `expression` instead of --every")
	flags.StringVar(&f.timezone, "timezone", "", "time zone of --cron, as in Europe/Berlin (default UTC)")
	flags.StringVar(&f.confirm, "confirm", "", "auto, transaction or receipt")
	flags.StringVar(&f.repeats, "repeats", "", "none: refuse a broker that cannot keep tokens; possible: keep none (default: tokens where the broker can)")
	flags.IntVar(&f.window, "window", 0, "most messages without a receipt, with --confirm receipt")
	flags.IntVar(&f.maxWorkers, "max-workers", 0, most)
	flags.StringArrayVar(&f.jobs, "job", nil, "only this job; can be repeated")
	flags.DurationVar(&f.shutdownTimeout, "shutdown-timeout", 20*time.Second, "how long a stop may take")
}

// addRun adds the flags of run.
func (f *serviceFlags) addRun(cmd *cobra.Command) {
	f.add(cmd, "most workers of this instance, of all jobs; 0: no limit")
	flags := cmd.Flags()
	flags.StringVar(&f.http, "http", config.DefaultListen, "`address` for the dashboard, the API, /livez, /readyz and /metrics; off: none")
	flags.BoolVar(&f.pprof, "pprof", false, "answer /debug/pprof/ to callers on this machine")
	flags.StringVar(&f.traces, "traces", "", "otlp: send traces to the collector of the OTEL_EXPORTER_OTLP_* variables (default off)")
}

// minShutdown leaves time to give back the workers: what is not given back stays owned until the lease ends.
const minShutdown = 100 * time.Millisecond

// loadFor reads the configuration that a service with these flags has.
func (a *app) loadFor(cmd *cobra.Command, flags *serviceFlags) (*config.Config, error) {
	if err := flags.check(); err != nil {
		return nil, err
	}
	return a.load(flags.overrides(cmd))
}

func (f *serviceFlags) check() error {
	var problems []error
	if f.shutdownTimeout < minShutdown {
		problems = append(problems, fmt.Errorf("--shutdown-timeout %s is less than %s: workers could not be given back", f.shutdownTimeout, minShutdown))
	}
	if f.maxWorkers < 0 {
		problems = append(problems, fmt.Errorf("--max-workers %d is negative; 0 is no limit", f.maxWorkers))
	}
	return exit(exitUsage, errors.Join(problems...))
}

// overrides are the flags that were given.
func (f *serviceFlags) overrides(cmd *cobra.Command) config.Overrides {
	over := config.Overrides{Confirm: f.confirm, Repeats: f.repeats, Traces: f.traces, Pprof: f.pprof, Cron: f.cron, Timezone: f.timezone, JobNames: f.jobs}
	if cmd.Flags().Changed("workers") {
		over.Workers = &f.workers
	}
	if cmd.Flags().Changed("batch") {
		over.Batch = &f.batch
	}
	if cmd.Flags().Changed("window") {
		over.Window = &f.window
	}
	if cmd.Flags().Changed("every") {
		over.Every = &f.every
	}
	if cmd.Flags().Changed("http") {
		over.HTTP = &f.http
	}
	return over
}

// closing is the part of --shutdown-timeout that is left for goodbyes after the batches in flight: a quarter.
const closing = 4

// grace is how long the batches in flight may take to finish.
func (f *serviceFlags) grace() time.Duration { return f.shutdownTimeout - f.shutdownTimeout/closing }

// farewell is the rest.
func (f *serviceFlags) farewell() time.Duration { return f.shutdownTimeout - f.grace() }

// service is a jobs.Service on real parts.
type service struct {
	*jobs.Service
	db      *store.DB
	jobs    []*jobs.Job
	broker  broker.Broker
	sources map[string]*store.Source
}

// opening says how a command wants its service.
type opening struct {
	patience time.Duration // how long to wait for a database that is not up yet
	grace    time.Duration // how long batches in flight may take to finish after a stop
	farewell time.Duration // how long giving back the workers may take after that
	// maxWorkers is the most that this process takes or, alone, runs at the same time; 0: no limit.
	maxWorkers int
	alone      bool // as the only instance
	monitor    *monitor.Monitor
	tracer     jobs.Tracer // optional
	site       *site       // optional
	log        zerolog.Logger
}

// limits are the most workers to take, and the most to run at the same time: who is alone takes all.
func (o opening) limits() (taken, once int) {
	if o.alone {
		return 0, o.maxWorkers
	}
	return o.maxWorkers, 0
}

// openService connects to the database, checks schema and jobs against it, and puts the workers together. The
// broker is connected to by the workers.
func (a *app) openService(ctx context.Context, c *config.Config, o opening) (_ *service, err error) {
	mq, err := broker.New(c.BrokerConfig())
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	db, err := a.awaitDatabase(ctx, c, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if db.Pooled() {
		o.log.Info().Msg("the database is behind a pooler: no prepared statements, every call is planned anew")
	}
	if err := checkSchema(ctx, db); err != nil {
		return nil, err
	}
	sources, err := openSources(ctx, db, c.JobList(), o.log)
	if err != nil {
		return nil, err
	}
	wakeups, err := db.NewWakeups(store.WakeupConfig{Jobs: c.JobList(), URL: c.Database.ListenURL})
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	taken, once := o.limits()
	ownership, err := db.NewOwnership(store.OwnershipConfig{
		Jobs: c.JobList(), Timing: c.Timing(), MaxWorkers: taken, Alone: o.alone, Version: version(),
	})
	if err != nil {
		return nil, err
	}
	fronts := map[string]*jobs.Front{}
	for name, source := range sources {
		fronts[name] = jobs.NewFront(source.Front)
	}
	newWorker := func(job *jobs.Job, owned jobs.Owned, lease *jobs.Lease) (*jobs.Worker, error) {
		rows := sources[job.Name].Worker(owned.Shard)
		return jobs.NewWorker(jobs.WorkerConfig{
			Job: job, Shard: owned.Shard, Rows: rows, Failures: rows, Publisher: mq.Publisher(token(job, owned.Shard, rows)),
			Front: fronts[job.Name], Unsettled: owned.Unsettled, Lease: lease, Log: o.log, Grace: o.grace,
			Observer: o.monitor, Tracer: o.tracer,
		})
	}
	workers, err := jobs.NewService(jobs.ServiceConfig{
		Jobs: c.JobList(), Ownership: ownership, NewWorker: newWorker, Timing: c.Timing(), Wakeups: wakeups, Farewell: o.farewell,
		OnceWorkers: once,
		Waiting:     func(ctx context.Context, job string) (bool, error) { return sources[job].Waiting(ctx) },
		Observer:    o.monitor, Log: o.log,
	})
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	return &service{workers, db, c.JobList(), mq, sources}, nil
}

// checkSchema checks that the schema is that of this release, and that the role may number the owners of workers.
func checkSchema(ctx context.Context, db *store.DB) error {
	if err := db.CheckSchema(ctx); err != nil {
		return err
	}
	err := db.CheckEpochs(ctx)
	if _, wrong := errors.AsType[*store.Problem](err); wrong {
		return exit(exitUsage, err)
	}
	return err
}

// token says which token a worker keeps on the broker; nil where repeats are taken.
func token(job *jobs.Job, shard jobs.Shard, lineage stomp.Lineage) *stomp.TokenConfig {
	if job.Repeats == jobs.RepeatsPossible {
		return nil
	}
	return &stomp.TokenConfig{Job: job.Name, Shard: shard, Lineage: lineage, Required: job.Repeats == jobs.RepeatsNone}
}

// awaitDatabase opens the database; one that is not up yet gets some time.
func (a *app) awaitDatabase(ctx context.Context, c *config.Config, o opening) (*store.DB, error) {
	deadline := time.Now().Add(o.patience)
	for told := false; ; told = true {
		db, err := a.database(ctx, c)
		if err == nil || !store.IsUnreachable(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return db, err
		}
		if !told {
			o.log.Warn().Err(err).Dur("patience_ms", o.patience).Msg("waiting for the database")
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

func openSources(ctx context.Context, db *store.DB, list []*jobs.Job, log zerolog.Logger) (map[string]*store.Source, error) {
	sources := map[string]*store.Source{}
	for _, job := range list {
		source, warnings, err := db.OpenSource(ctx, job)
		if err != nil && store.IsUnreachable(err) {
			return nil, err
		}
		if err != nil {
			return nil, exit(exitUsage, fmt.Errorf("job %s: %w", job.Name, err))
		}
		for _, warning := range warnings {
			log.Warn().Str("job", job.Name).Msg(warning.Error())
		}
		sources[job.Name] = source
	}
	return sources, nil
}
