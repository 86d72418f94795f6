package main

import (
	"context"
	"os"
	"os/user"
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
	return a.withSchema(ctx, func(db *store.DB, c *config.Config) error {
		return do(operations.New(operations.Config{DB: db, Jobs: c.JobList()}))
	})
}

// withTables runs a command that looks at the tables of jobs: the named ones that are in the configuration, or all.
func (a *app) withTables(ctx context.Context, names []string, do func(*operations.Console) error) error {
	return a.withSchema(ctx, func(db *store.DB, c *config.Config) error {
		var list []*jobs.Job
		for _, job := range c.JobList() {
			if len(names) == 0 || names[0] == job.Name {
				list = append(list, job)
			}
		}
		sources, err := openSources(ctx, db, list, zerolog.Nop())
		if err != nil {
			return err
		}
		return do(operations.New(operations.Config{DB: db, Jobs: list, Sources: sources}))
	})
}
