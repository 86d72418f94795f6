package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"modulo/internal/config"
	"modulo/jobs"
	"modulo/store"
)

// Exit codes, as documented in docs/cli.md.
const (
	exitRuntime     = 1
	exitUsage       = 2 // wrong flags or configuration
	exitDoctor      = 3 // doctor found a failure
	exitFailedRows  = 4 // finished, but rows failed
	exitUnreachable = 5 // database or broker
	exitRefused     = 6
)

// exitError is an error with the exit code it calls for.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// terminal is what a command sees of the process it runs in.
type terminal struct {
	in        io.Reader
	out, err  io.Writer
	lookupEnv func(string) (string, bool)
}

// app is the state that the commands share: where they write, and the flags that all of them know.
type app struct {
	terminal
	configPath, databaseURL, brokerURL string
	logLevel, logFormat                string
	fromEnvironment                    []string // names of the flags that variables have set
}

// run runs the command line and returns the exit code. It is main without the process, for tests too.
func run(ctx context.Context, args []string, t terminal) int {
	a := &app{terminal: t}
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(t.err, "modulo:", err)
	return codeOf(err)
}

func codeOf(err error) int {
	if withCode, ok := errors.AsType[*exitError](err); ok {
		return withCode.code
	}
	if ended, ok := errors.AsType[signalled](err); ok {
		return ended.exitCode()
	}
	connect, notConnected := errors.AsType[*jobs.ConnectError](err)
	publish, notPublished := errors.AsType[*jobs.PublishError](err)
	switch {
	case isA[*store.SchemaError](err), isA[*jobs.OwnedError](err), isA[*jobs.PausedError](err), isA[store.Refusal](err), errors.Is(err, store.ErrNoJob):
		return exitRefused
	case notConnected && connect.Fault == jobs.FaultConfiguration, notPublished && publish.Fault == jobs.FaultConfiguration,
		errors.Is(err, store.ErrPooled):
		return exitUsage
	case notConnected, notPublished, store.IsUnreachable(err):
		return exitUnreachable
	}
	return exitRuntime
}

func isA[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "modulo",
		Short: "Drains PostgreSQL tables into ActiveMQ, in parallel, without losing a row",
		Long: `Modulo runs K workers of a job. Worker w selects the pending rows where id % K = w, sends each row's event to
ActiveMQ, waits for the broker's receipt and only then marks the row done.

Every flag can also be given as an environment variable: --shutdown-timeout as MODULO_SHUTDOWN_TIMEOUT.`,
		Example: `  modulo demo                         everything on this machine, with private servers
  modulo migrate up                   create or update the schema modulo
  modulo run --workers 5              the service, in any number of processes
  modulo workers set outbox 8         another number of workers, live
  modulo rows list outbox             rows that failed`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			a.fromEnvironment, err = flagsFromEnvironment(cmd.Flags(), a.lookupEnv)
			return exit(exitUsage, err)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", "", "configuration `file` (YAML)")
	flags.StringVar(&a.databaseURL, "database-url", "", "PostgreSQL `URL`; else DATABASE_URL, else the PG* variables")
	flags.StringVar(&a.brokerURL, "broker-url", "", "broker `URL`, as in stomp://user:password@host:61613; several with commas")
	flags.StringVar(&a.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&a.logFormat, "log-format", "", "json or console (default: console on a terminal, else json)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
			err = noSuchCommand(cmd, args) // whose flag it may be
		}
		return exit(exitUsage, fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
	})
	root.AddCommand(
		a.runCommand(), a.onceCommand(), a.demoCommand(), a.migrateCommand(), a.initCommand(),
		a.statusCommand(), a.workersCommand(), a.instancesCommand(), a.pauseCommand(), a.resumeCommand(), a.triggerCommand(),
		a.rowsCommand(), a.passesCommand(), a.auditCommand(), a.doctorCommand(), a.configCommand(), a.benchCommand(), a.versionCommand(),
	)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.InitDefaultCompletionCmd() // which keeps the output
	usageErrors(root)
	return root
}

// usageErrors gives wrong arguments and commands the exit code of wrong flags.
func usageErrors(c *cobra.Command) {
	if c.HasSubCommands() {
		c.Args, c.DisableFlagsInUseLine, c.SuggestionsMinimumDistance = noSuchCommand, true, 2
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return exit(exitUsage, fmt.Errorf("%w (usage: %s)", err, cmd.UseLine()))
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// noSuchCommand accepts no arguments where only commands of its own are known.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	problem := fmt.Sprintf("unknown command %q", args[0])
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		problem += ", did you mean " + strings.Join(similar, " or ") + "?"
	}
	return errors.New(problem)
}

// exclusive are pairs of flags of which only one can be given.
var exclusive = [][2]string{{"every", "cron"}, {"every", "timezone"}}

// flagsFromEnvironment sets the flags that were not given from variables like MODULO_LOG_LEVEL; an empty one is as one not
// set. A flag that was given also beats the variables of those that it excludes. It returns the names of the flags that it set.
func flagsFromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) (set []string, err error) {
	given := map[string]bool{"help": true}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	for _, pair := range exclusive {
		if flags.Changed(pair[0]) || flags.Changed(pair[1]) {
			given[pair[0]], given[pair[1]] = true, true
		}
	}
	var problems []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "MODULO_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := lookup(name)
		if !ok || value == "" || given[f.Name] {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			problems = append(problems, fmt.Errorf("environment variable %s: %w", name, err))
		}
		set = append(set, f.Name)
	})
	for _, pair := range exclusive {
		if flags.Changed(pair[0]) && flags.Changed(pair[1]) {
			problems = append(problems, fmt.Errorf("--%s and --%s exclude each other", pair[0], pair[1]))
		}
	}
	return set, errors.Join(problems...)
}

// load reads the configuration with the flags of this command line.
func (a *app) load(over config.Overrides) (*config.Config, error) {
	over.DatabaseURL, over.BrokerURL, over.Environment = a.databaseURL, a.brokerURL, a.fromEnvironment
	if over.DatabaseURL == "" {
		over.DatabaseURL, _ = a.lookupEnv("DATABASE_URL")
		over.Environment = append(slices.Clone(over.Environment), "database-url")
	}
	c, err := config.Load(a.configPath, a.lookupEnv, over)
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	return c, nil
}

// database opens the database of the configuration.
func (a *app) database(ctx context.Context, c *config.Config) (*store.DB, error) {
	db, err := store.Open(ctx, store.Config{
		URL: c.Database.URL, MaxConns: c.Database.MaxConns, StatementTimeout: time.Duration(c.Database.StatementTimeout),
	})
	if err != nil && !store.IsUnreachable(err) && ctx.Err() == nil {
		return nil, exit(exitUsage, err) // it was not even tried
	}
	return db, err
}

// logger writes to stderr, for people on a terminal and as JSON for machines.
func (a *app) logger() (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(a.logLevel)
	if err != nil || level == zerolog.NoLevel {
		return zerolog.Nop(), exit(exitUsage, fmt.Errorf("--log-level %q: want debug, info, warn or error", a.logLevel))
	}
	format := a.logFormat
	if format == "" {
		format = "json"
		if isTerminal(a.err) {
			format = "console"
		}
	}
	out := a.err
	switch format {
	case "json":
	case "console":
		_, noColor := a.lookupEnv("NO_COLOR")
		out = zerolog.ConsoleWriter{Out: a.err, TimeFormat: "15:04:05.000", NoColor: noColor || !isTerminal(a.err)}
	default:
		return zerolog.Nop(), exit(exitUsage, fmt.Errorf("--log-format %q: want json or console", format))
	}
	return zerolog.New(zerolog.SyncWriter(out)).Level(level).With().Timestamp().Logger(), nil
}
