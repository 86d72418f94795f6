package main

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modulo/internal/operations"
)

const statusConfig = `
jobs:
  outbox: {workers: 3}
  orders:
    workers: 2
    source: {table: orders, id: id, where: not sent}
    done: {set: sent = true}
    message: {destination: /queue/status.orders}
`

func TestStatus(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", statusConfig)
	f.exec(`create table orders (id int primary key, sent boolean not null default false);
		insert into orders values (-1), (2), (4), (5)`)
	f.exec(`insert into modulo.outbox (destination, payload, headers) values ($1, 'good', null), ($1, 'bad', '{"id": "1"}')`, f.queue)
	f.exits(exitFailedRows, "once", "outbox")
	f.exec(`insert into modulo.outbox (destination, payload, created_at)
		select $1, n, now() - interval '2 days' from generate_series(1, 4) as n`, f.queue) // ids 3 to 6
	golden(t, "cli/status.txt", maskedTable(f.ok("status")))
	golden(t, "cli/status.json", masked(f.ok("status", "-o", "json")))

	var jobs []operations.Job
	if err := json.Unmarshal([]byte(f.ok("status", "outbox", "-o", "json")), &jobs); err != nil || len(jobs) != 1 {
		t.Fatalf("%v: %+v", err, jobs)
	}
	if age := jobs[0].OldestSeconds; age < 2*24*3600 || age > 2*24*3600+60 {
		t.Errorf("the oldest row is %v seconds old, want two days", age)
	}
	f.refuses(exitRefused, []string{"job nonsense", "no such job"}, "status", "nonsense")
	f.taken(f.queue)
}

// The tables say why nothing moves, in one short line: the last pass of an owner, or its token.
func TestTablesShowProblems(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(-time.Minute)
	down := "publish: dial tcp 127.0.0.1:61613:\nconnection refused " + strings.Repeat("x", problemWidth)
	job := operations.Job{Job: "outbox", State: operations.StateRunning, PassAt: &at, Problem: down, PerWorker: []operations.Worker{
		{Worker: 0, Of: 3, Instance: "a", LastPass: &operations.Pass{Problem: down}},
		{Worker: 1, Of: 3, Instance: "a", Problem: "the token is gone", LastPass: &operations.Pass{Problem: down}},
		{Worker: 2, Of: 3, LastPass: &operations.Pass{Problem: down}},
	}}
	for _, c := range []struct {
		print func(*app) error
		want  []string
	}{
		{func(a *app) error { return a.printStatus(asTable, []operations.Job{job}) }, []string{"connection refused xx"}},
		{func(a *app) error { return a.printWorkers(asTable, job) }, []string{"connection refused xx", "the token is gone", "-"}},
	} {
		var out strings.Builder
		if err := c.print(&app{terminal: terminal{out: &out}}); err != nil {
			t.Fatal(err)
		}
		head, rows, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
		for n, row := range strings.Split(rows, "\n") {
			if got := row[strings.Index(head, "PROBLEM"):]; !strings.Contains(got, c.want[n]) || len([]rune(got)) > problemWidth {
				t.Errorf("problem %q, want %q", got, c.want[n])
			}
		}
	}
}

// The next pass is told where the clock begins one at a time of its own.
func TestNextPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		soon := time.Now().Add(3*time.Minute + 100*time.Millisecond)
		for want, job := range map[string]operations.Job{
			"-":           {Schedule: "every 500ms", ByInterval: true},
			"every 500ms": {Schedule: "every 500ms", ByInterval: true, NextAt: &soon},
			"in 3m0s":     {Schedule: "cron */5 * * * *", NextAt: &soon},
		} {
			if got := nextPass(job); got != want {
				t.Errorf("%+v: %q, want %q", job, got, want)
			}
		}
	})
}
