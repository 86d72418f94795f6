package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/store"
)

func (a *app) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or update the schema modulo in the database",
		Long: `Create or update the schema modulo in the database. Any number of processes may migrate at once: one works, the others
wait. It needs a connection of its own to PostgreSQL, so not one through PgBouncer in transaction mode.`,
	}
	cmd.AddCommand(a.migrateUpCommand(), a.migrateDownCommand(), a.migrateStatusCommand(), a.migratePrintCommand())
	return cmd
}

// withDatabase runs a command that needs the database and nothing else.
func (a *app) withDatabase(ctx context.Context, do func(*store.DB, *config.Config) error) error {
	c, err := a.load(config.Overrides{})
	if err != nil {
		return err
	}
	return a.onDatabase(ctx, c, func(db *store.DB) error { return do(db, c) })
}

func (a *app) onDatabase(ctx context.Context, c *config.Config, do func(*store.DB) error) error {
	db, err := a.database(ctx, c)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer db.Close()
	return stoppedEarly(ctx, do(db))
}

func (a *app) migrateUpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Apply what is missing",
		Long: `Apply what is missing. Where a job on modulo.outbox says "listen: true", the trigger that announces inserts is enabled, too.
It is never disabled again by itself.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDatabase(cmd.Context(), func(db *store.DB, c *config.Config) error {
				applied, err := db.MigrateUp(cmd.Context())
				for _, m := range applied {
					fmt.Fprintln(a.out, "applied", m.Name)
				}
				if err == nil && len(applied) == 0 {
					fmt.Fprintln(a.out, "nothing to do: the schema is up to date")
				}
				if err == nil {
					a.announce(cmd.Context(), db, c)
				}
				return err
			})
		},
	}
}

// announcePatience is how long migrate up waits for transactions that have modulo.outbox.
const announcePatience = 10 * time.Second

// announce enables the trigger for jobs that listen. What is missing is no error: the schema is up to date, and the
// clock begins passes.
func (a *app) announce(ctx context.Context, db *store.DB, c *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, announcePatience)
	defer cancel()
	wakeups, err := db.NewWakeups(store.WakeupConfig{Jobs: c.JobList()})
	if err == nil {
		err = wakeups.Announce(ctx)
	}
	if err != nil {
		fmt.Fprintln(a.err, "warning:", err)
	}
}

func (a *app) migrateDownCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take back the newest migration, with what it holds",
		Args:  cobra.NoArgs,
	}
	yes := cmd.Flags().Bool("yes", false, "really do it: the first migration holds all events of modulo.outbox")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !*yes {
			return exit(exitRefused, fmt.Errorf("migrate down removes tables with what is in them; say --yes if that is meant"))
		}
		return a.withDatabase(cmd.Context(), func(db *store.DB, _ *config.Config) error {
			undone, err := db.MigrateDown(cmd.Context())
			switch {
			case err != nil:
				return err
			case undone == nil:
				fmt.Fprintln(a.out, "nothing to do: no migration is applied")
			default:
				fmt.Fprintln(a.out, "took back", undone.Name)
			}
			return nil
		})
	}
	return cmd
}

func (a *app) migrateStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the migrations and when they were applied",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withDatabase(cmd.Context(), func(db *store.DB, _ *config.Config) error {
			list, err := db.MigrateStatus(cmd.Context())
			if err != nil {
				return err
			}
			p := printed{head: []string{"VERSION", "FILE", "APPLIED"}}
			lines := make([]migrationLine, len(list))
			for i, m := range list {
				lines[i] = migrationLine{Version: m.Version, File: m.Name}
				applied := "no"
				if m.Applied {
					lines[i].AppliedAt = &m.AppliedAt
					applied = m.AppliedAt.UTC().Format(time.RFC3339)
				}
				p.rows = append(p.rows, []string{strconv.FormatInt(m.Version, 10), m.Name, applied})
			}
			p.value = lines
			return a.print(*output, p)
		})
	}
	return cmd
}

// migrationLine is one line of migrate status -o json.
type migrationLine struct {
	Version   int64      `json:"version"`
	File      string     `json:"file"`
	AppliedAt *time.Time `json:"applied_at"`
}

func (a *app) migratePrintCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "print",
		Short:   "Print the SQL for a DBA to apply by psql",
		Example: "  modulo migrate print | psql -d app",
		Args:    cobra.NoArgs,
	}
	after := cmd.Flags().Int64("after", 0, "only migrations newer than this `version`")
	cmd.RunE = func(*cobra.Command, []string) error { return store.MigratePrint(a.out, *after) }
	return cmd
}
