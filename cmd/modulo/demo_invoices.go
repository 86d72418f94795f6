package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"modulo/internal/config"
	"modulo/internal/operations"
	"modulo/store"
)

// demoConfig adds the job invoices.
//
//go:embed demo.yaml
var demoConfig []byte

// writeDemoConfig points this app at the configuration of the demo.
func (a *app) writeDemoConfig(dir string) error {
	a.configPath = filepath.Join(dir, "modulo.yaml")
	return os.WriteFile(a.configPath, demoConfig, 0o600)
}

const createInvoices = `create table invoice (
  invoice_id bigint generated always as identity primary key,
  customer   text not null,
  region     text,
  total      numeric not null,
  note       text not null,
  reference  text,
  sent_at    timestamptz,
  created_at timestamptz not null default now())`

const indexInvoices = `create index on invoice (invoice_id) where sent_at is null`

// insertInvoices makes rows as they come in real life: of each four hundred one has no region, three are for a region that
// cannot be a part of a queue's name, two are too long, and one has a reference that no header can hold.
const insertInvoices = `
insert into invoice (customer, region, total, note, reference)
select 'customer-' || n % 80,
       case n % 400 when 17 then null when 50 then 'eu?x' when 150 then 'eu?x' when 250 then 'eu?x' else (array['eu', 'us', 'asia'])[1 + n % 3] end,
       round((random() * 5000)::numeric, 2),
       case when n % 400 in (120, 320) then repeat('line item; ', 300) else 'approved' end,
       case when n % 400 = 77 then repeat('R', 5000) else 'R-' || n end
from generate_series(1, $1::int) as n`

// insertInvoices adds invoices: the first sixteen of a call are good.
func (a *demoApplication) insertInvoices(ctx context.Context, n int) error {
	if _, err := a.db.Exec(ctx, insertInvoices, n); err != nil {
		return fmt.Errorf("insert sample invoices: %w", err)
	}
	return nil
}

func (a *demoApplication) createInvoices(ctx context.Context, n int) error {
	for _, statement := range []string{createInvoices, indexInvoices} {
		if _, err := a.db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("create the demo's table: %w", err)
		}
	}
	return a.insertInvoices(ctx, n)
}

// What somebody at the demo's controls does once, for people to see: more workers for the outbox.
const (
	demoChangeAfter = 20 * time.Second
	demoMoreWorkers = 3
)

// changeDemo changes K after a while, as an operator would; it returns when that is done, or ctx ends.
func (a *app) changeDemo(ctx context.Context, db *store.DB, c *config.Config, workers int) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(demoChangeAfter):
	}
	console := operations.New(operations.Config{DB: db, Jobs: c.JobList()})
	by := store.Actor{Who: "demo", Reason: "more workers, live: watch the job's page"}
	_, err := console.SetWorkers(ctx, by, store.WorkersChange{Job: "outbox", Workers: workers + demoMoreWorkers})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the demo's change of workers: %w", err)
	}
	return nil
}
