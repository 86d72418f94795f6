package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"modulo/internal/testservers"
)

// invoiceTable is a table as an application has it: nothing in it knows Modulo.
const invoiceTable = `
create schema billing;
create type billing.status as enum ('DRAFT', 'APPROVED', 'REJECTED');
create table billing.invoice (
  invoice_id  int primary key,
  customer_id int,
  region      text not null,
  status      billing.status not null,
  total       numeric(12, 2) not null,
  note        text,
  lines       jsonb,
  document    bytea,
  due         date,
  sent_at     timestamptz,
  sent_by     text);
insert into billing.invoice (invoice_id, customer_id, region, status, total, note, lines, document, due) values
  (1, 7, 'eu', 'APPROVED', 12.50, 'paid "cash"', '[{"sku": "a\\b", "n": 2}]', '\x0001', '2026-01-31'),
  (2, 8, 'us', 'APPROVED', 0.00, E'two\nlines\tand a tab', '{}', '\xff', null),
  (3, 7, 'eu', 'DRAFT', 99.00, 'not yet', '[]', null, null),
  (4, 7, 'eu', 'APPROVED', -5.25, null, 'null', '', '2026-02-28'),
  (5, null, 'us', 'APPROVED', 1e9, 'Привет, 世界 ☂ 🎈', '{"z": 1, "a": {"deep": [1, 2.50, null]}}', '\x0d0a', null),
  (-6, 9, 'eu', 'APPROVED', 3.00, 'negative id', '"text"', '\x00', 'infinity');`

// invoiceConfig has three jobs on the table; each sends and marks rows of its own.
const invoiceConfig = `
jobs:
  invoices:
    workers: 3
    batch: 2
    source:
      table: billing.invoice
      id: invoice_id
      where: status = 'APPROVED' and sent_at is null -- comments are fine
      shard_by: customer_id
    done: {set: "sent_at = now(), sent_by = 'modulo'"}
    ordered: true
    message:
      destination: "/queue/own.{region}.invoice"
      allow: ["/queue/own.*.invoice"]
      payload: row
      columns: [invoice_id, customer_id, total, note, lines, due]
      headers: {correlation-id: "{invoice_id}", type: InvoiceApproved, JMSXGroupID: "{customer_id}", origin: "{{{region}}}/{status}"}
      event_id: "invoice-{invoice_id}"
  lines:
    source: {table: billing.invoice, id: invoice_id, where: "lines <> 'null' and sent_by = 'modulo'"}
    done: {set: sent_by = 'lines'}
    message: {destination: /queue/own.lines, payload: lines}
  summaries:
    source: {table: billing.invoice, id: invoice_id, where: sent_by = 'lines'}
    done: {set: sent_by = 'summaries'}
    message:
      destination: /queue/own.summaries
      payload: {sql: "format('%s: %s EUR, %s', invoice_id, total, note)"}
  documents:
    source: {table: billing.invoice, id: invoice_id, where: sent_by = 'summaries'}
    done: {set: sent_by = 'documents'}
    message: {destination: /queue/own.documents, payload: "sql: document || '\\x00'"}
`

// TestOwnTable drains a table of the user's own by a configuration and compares what ActiveMQ's Java client sees.
func TestOwnTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(invoiceTable)
	config := write(t, "modulo.yaml", invoiceConfig)
	queues := map[string][]string{
		"invoices": {"own.eu.invoice", "own.us.invoice"}, "lines": {"own.lines"}, "summaries": {"own.summaries"}, "documents": {"own.documents"},
	}
	var all []string
	expected := 0
	for _, job := range []string{"invoices", "lines", "summaries", "documents"} {
		var summary []onceSummary
		if err := json.Unmarshal([]byte(f.ok("once", job, "--config", config, "-o", "json")), &summary); err != nil {
			t.Fatal(err)
		}
		if len(summary) != 1 || summary[0].Job != job || summary[0].Done == 0 {
			t.Fatalf("summary of %s: %+v", job, summary)
		}
		expected += summary[0].Done
		all = append(all, queues[job]...)
	}
	delivered := testservers.ConsumeFrom(t, testservers.Consumption{URL: f.mq.OpenWireURL(), Queues: all, Expected: expected})
	if len(delivered) != expected {
		t.Errorf("%d messages, want %d", len(delivered), expected)
	}
	described := make([]string, len(delivered))
	for i, m := range delivered {
		described[i] = describe(m)
	}
	slices.Sort(described)
	golden(t, "messages/invoices.txt", strings.Join(described, "\n"))

	marked := one[string](f, `select string_agg(format('%s %s %s', invoice_id, sent_by, sent_at is not null), ', ' order by invoice_id)
		from billing.invoice`)
	if want := "-6 documents t, 1 documents t, 2 documents t, 3  f, 4 modulo t, 5 documents t"; marked != want {
		t.Errorf("the table afterwards: %s\nwant: %s", marked, want)
	}
}

// describe writes a message as a golden shows it, without what differs from run to run.
func describe(m testservers.Delivered) string {
	body := m.Text
	if m.Class == "BytesMessage" {
		body = fmt.Sprintf("%x", m.Bytes)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s row %s: %s to %s\n", m.Property("job"), m.Property("row_id"), m.Class, m.Destination)
	for _, name := range []string{"event_id", "worker", "origin"} {
		if p, ok := m.Properties[name]; ok {
			fmt.Fprintf(&b, "  %s: %s\n", name, p.Value)
		}
	}
	for _, field := range [][2]string{{"correlation-id", m.CorrelationID}, {"type", m.Type}, {"JMSXGroupID", m.GroupID}} {
		if field[1] != "" {
			fmt.Fprintf(&b, "  %s: %s\n", field[0], field[1])
		}
	}
	fmt.Fprintf(&b, "  %s\n", body)
	return b.String()
}
