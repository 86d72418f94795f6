package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/internal/operations"
	"modulo/jobs"
	"modulo/store"
)

// actorFlags say who changes something, and why.
type actorFlags struct{ who, reason string }

func (f *actorFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.who, "who", "", "who does it, for the audit (default: the user of the system @ host)")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for the audit")
}

func (f *actorFlags) actor() store.Actor {
	who := f.who
	if who == "" {
		who = systemUser()
	}
	return store.Actor{Who: who, Reason: f.reason}
}

// systemUser is who runs this process, as in "ann@host".
func systemUser() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// withConsole runs a command that needs no table of a job.
func (a *app) withConsole(ctx context.Context, do func(*operations.Console) error) error {
	return a.withDatabase(ctx, func(db *store.DB, c *config.Config) error {
		if err := db.CheckSchema(ctx); err != nil {
			return err
		}
		return do(operations.New(operations.Config{DB: db, Jobs: c.JobList()}))
	})
}

// withTables runs a command that looks at the tables of jobs, of those that the configuration has; none named: of all.
func (a *app) withTables(ctx context.Context, names []string, do func(*operations.Console) error) error {
	c, err := a.load(config.Overrides{})
	if err != nil {
		return err
	}
	others := func(job *jobs.Job) bool { return len(names) > 0 && !slices.Contains(names, job.Name) }
	return a.onTables(ctx, c, slices.DeleteFunc(slices.Clone(c.JobList()), others), do)
}

// onTables runs a command on the tables of jobs. One that does not fit its job is the error in the end, with exitUsage: what
// is known without it is shown all the same.
func (a *app) onTables(ctx context.Context, c *config.Config, list []*jobs.Job, do func(*operations.Console) error) error {
	return a.onDatabase(ctx, c, func(db *store.DB) error {
		if err := db.CheckSchema(ctx); err != nil {
			return err
		}
		sources, unfit := map[string]*store.Source{}, map[string]error{}
		for _, job := range list {
			opened, err := openSources(ctx, db, []*jobs.Job{job}, zerolog.Nop())
			if store.IsUnreachable(err) {
				return err
			}
			maps.Copy(sources, opened)
			if err != nil {
				unfit[job.Name] = err
			}
		}
		err := do(operations.New(operations.Config{DB: db, Jobs: list, Sources: sources, Unfit: unfit}))
		code := exitUsage
		if err != nil {
			code = codeOf(err)
		}
		for _, name := range slices.Sorted(maps.Keys(unfit)) {
			if !errors.Is(err, unfit[name]) {
				err = errors.Join(err, unfit[name])
			}
		}
		return exit(code, err)
	})
}
