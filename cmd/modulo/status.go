package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/store"
)

// backlogLimit bounds what counting the pending rows of a job costs.
const backlogLimit = 1_000_000

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Jobs, their workers and owners, backlog, age of the oldest pending row, failed rows",
		Args:  cobra.MaximumNArgs(1),
	}
	output, every := outputFlag(cmd), watchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.load(config.Overrides{JobNames: args})
		if err != nil {
			return err
		}
		db, err := a.database(cmd.Context(), c)
		if err != nil {
			return stoppedEarly(cmd.Context(), err)
		}
		defer db.Close()
		if err := db.CheckSchema(cmd.Context()); err != nil {
			return err
		}
		return a.watch(cmd.Context(), *every, *output, func(a *app) error { return a.printStatus(cmd.Context(), *output, db, c) })
	}
	return cmd
}

// jobStatus is one job of status -o json.
type jobStatus struct {
	Job             string         `json:"job"`
	State           string         `json:"state"`
	Workers         int            `json:"workers"` // in force
	Owned           int            `json:"workers_owned"`
	ChangingTo      int            `json:"changing_to,omitempty"`
	TokenProblems   int            `json:"token_problems"` // workers that wait for a person
	Instances       int            `json:"instances"`
	Backlog         int            `json:"backlog"`
	BacklogComplete bool           `json:"backlog_complete"` // false: there are at least as many
	OldestSeconds   float64        `json:"oldest_pending_age_seconds"`
	Failed          int            `json:"failed"`
	Retrying        int            `json:"retrying"`
	PerWorker       []workerStatus `json:"per_worker"`
}

type workerStatus struct {
	Worker        int     `json:"worker"`
	Backlog       int     `json:"backlog"`
	OldestSeconds float64 `json:"oldest_pending_age_seconds"`
}

func (a *app) printStatus(ctx context.Context, output outputFormat, db *store.DB, c *config.Config) error {
	sources, err := openSources(ctx, db, c.JobList(), zerolog.Nop())
	if err != nil {
		return err
	}
	p := printed{head: []string{"JOB", "STATE", "OWNED", "BACKLOG", "OLDEST", "FAILED", "RETRYING"}}
	lines := []jobStatus{}
	for _, job := range c.JobList() {
		control, err := db.Control(ctx, job.Name)
		if errors.Is(err, store.ErrNoJob) {
			control, err = store.Control{Workers: job.Workers}, nil
		}
		if err != nil {
			return err
		}
		backlog, err := sources[job.Name].Backlog(ctx, control.Workers, backlogLimit)
		if err != nil {
			return err
		}
		line := jobStatus{
			Job: job.Name, State: stateOf(control), Workers: control.Workers, Owned: control.Owned(), ChangingTo: control.Next, TokenProblems: control.Problems(),
			Instances: control.Instances, Backlog: backlog.Pending(), BacklogComplete: backlog.Complete,
			OldestSeconds: backlog.Oldest().Seconds(), Failed: backlog.Failed, Retrying: backlog.Retrying,
		}
		for number, w := range backlog.Workers {
			line.PerWorker = append(line.PerWorker, workerStatus{number, w.Pending, w.Age.Seconds()})
		}
		lines = append(lines, line)
		p.rows = append(p.rows, []string{
			line.Job, line.State, fmt.Sprintf("%d/%d", line.Owned, line.Workers), atLeast(line.Backlog, line.BacklogComplete), age(backlog.Oldest()),
			strconv.Itoa(line.Failed), strconv.Itoa(line.Retrying),
		})
	}
	p.value = lines
	return a.print(output, p)
}

// stateOf says in a word or two what a job does.
func stateOf(c store.Control) string {
	switch {
	case c.Problems() > 0:
		return "token trouble"
	case c.Next != 0:
		return fmt.Sprintf("changing %d -> %d", c.Workers, c.Next)
	case c.Paused:
		return "paused"
	case c.Owned() == 0:
		return "stopped"
	case c.Owned() < c.Workers:
		return "partly unowned"
	}
	return "running"
}

func atLeast(count int, complete bool) string {
	if complete {
		return strconv.Itoa(count)
	}
	return fmt.Sprintf(">= %d", count)
}

func age(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(100 * time.Millisecond).String()
}

// oneLine makes text of a broker or a database fit into a table.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
