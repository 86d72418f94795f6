package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"modulo/internal/operations"
	"modulo/internal/testservers"
)

// hostileTexts must arrive as they are, in a body and in a header value: to a broker that reads them as frames, each
// means something else.
var hostileTexts = []string{
	"\n\nSEND\ndestination:/queue/injected.evil\n\nboo",
	"\r\nevil:1\r\n\r\nbody",
	`a:b\c\n\r\\`,
	"RECEIPT\nreceipt-id:1\n\n",
	" leading and trailing ",
	"'; drop table modulo.outbox; --",
	"{type} {{key}} ${HOME} %s",
	"\u202eright to left\ufeff\u0085\u2028",
	"\\",
	":",
	"\t",
}

// hostileHeaders are headers columns that must make their row fail: each reaches for a header of the frame or of the
// broker, or for a name that is none.
var hostileHeaders = []string{
	`{"destination": "/queue/injected.evil"}`,
	`{"Destination:": "/queue/injected.evil"}`,
	`{"persistent": "false"}`,
	`{"expires": "1"}`,
	`{"priority": "9"}`,
	`{"timestamp": "1"}`,
	`{"receipt": "1"}`,
	`{"transaction": "2"}`,
	`{"content-length": "1"}`,
	`{"content-type": "text/plain"}`,
	`{"transformation": "jms-map-json"}`,
	`{"amq-msg-type": "bytes"}`,
	`{"AMQ_SCHEDULED_DELAY": "3600000"}`,
	`{"AMQ_SCHEDULED_CRON": "* * * * *"}`,
	`{"_AMQ_DUPL_ID": "1"}`,
	`{"JMSActiveMQBrokerInTime": "1"}`,
	`{"JMSXGroupSeq": "-1"}`,
	`{"JMSExpiration": "1"}`,
	`{"JMSDeliveryMode": "1"}`,
	`{"JMSPriority": "9"}`,
	`{"JMSReplyTo": "queue://injected.evil"}`,
	`{"JMSType": "x"}`,
	`{"JMSXUserID": "root"}`,
	`{"event_id": "another"}`,
	`{"worker": "0/1"}`,
	`{"evil:1\nx": "y"}`,
	`{"evil\ndestination": "/queue/injected.evil"}`,
	`{"": "no name"}`,
	`{"naïve": "not ASCII"}`,
	`["evil", "1"]`,
	`"evil:1"`,
	`{"nested": {"evil": "1"}}`,
	`{"list": ["1"]}`,
}

// hostileDestinations must make their row fail: a job that allows queues with plain names sends nowhere else.
var hostileDestinations = []string{
	"/topic/injected", "/queue/injected,/queue/injected.evil", "/queue/injected,topic://x", "/queue/injected?consumer.prefetchSize=1",
	"/queue/injected.evil\nevil:1", "/queue/injected\x01", "/queue/", "", "injected", "queue://injected", "/temp-queue/x", "/remote-temp-queue/x",
	"/queue/injected/evil", "/queue/injected.>", "/queue/injected.*", "/queue/ActiveMQ.DLQ", "/queue/ActiveMQ.Advisory.x",
	"/queue/Größe", "/dsub/x", " /queue/injected", "/queue/" + strings.Repeat("x", 201), "/queue/modulo.token.outbox.0",
}

// TestRowsAreData: nothing in a row adds a header, a message or a destination, or takes persistence away.
func TestRowsAreData(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	good := f.insertHostile()
	f.exits(exitFailedRows, "once")

	var failures []operations.Failure
	if err := json.Unmarshal([]byte(f.ok("rows", "list", "outbox", "-o", "json")), &failures); err != nil {
		t.Fatal(err)
	}
	if bad := len(hostileHeaders) + len(hostileDestinations); len(failures) != bad {
		t.Errorf("%d rows failed, want %d", len(failures), bad)
	}
	for _, failure := range failures {
		if failure.Class != "not_allowed" && failure.Class != "invalid_message" {
			t.Errorf("row %d was not stopped by Modulo itself: %s: %s", failure.RowID, failure.Class, failure.Error)
		}
	}
	// Consumers of wildcards see what a trick brought into any queue of the name.
	delivered := testservers.ConsumeFrom(t, testservers.Consumption{
		URL: f.mq.OpenWireURL(), Queues: []string{"injected", "injected.>", "ActiveMQ.DLQ"}, Expected: good,
	})
	if len(delivered) != good {
		t.Errorf("%d messages, want %d", len(delivered), good)
	}
	for _, m := range delivered {
		f.checkHarmless(m)
	}
}

// insertHostile inserts all hostile rows and returns how many of them can be sent.
func (f *fixture) insertHostile() (good int) {
	f.t.Helper()
	const insert = `insert into modulo.outbox (destination, payload, headers, type, key) values ($1, $2, $3::text::jsonb, $4, $5)`
	for _, text := range hostileTexts {
		headers, err := json.Marshal(map[string]string{"note": text, "correlation-id": text})
		if err != nil {
			f.t.Fatal(err)
		}
		f.exec(insert, "/queue/injected", text, string(headers), text, text)
	}
	for _, headers := range hostileHeaders {
		f.exec(insert, "/queue/injected", "hostile header", headers, nil, nil)
	}
	for _, destination := range hostileDestinations {
		f.exec(insert, destination, "hostile destination", nil, nil, nil)
	}
	return len(hostileTexts)
}

func (f *fixture) checkHarmless(m testservers.Delivered) {
	f.t.Helper()
	if m.Destination != "queue://injected" || !m.Persistent || m.Expiration != 0 || m.Priority != 4 || m.ReplyTo != "" || m.Class != "TextMessage" {
		f.t.Errorf("not a plain persistent TextMessage of queue injected: %+v", m)
	}
	properties := []string{"epoch", "event_id", "job", "note", "row_id", "worker"}
	if names := slices.Sorted(maps.Keys(m.Properties)); !slices.Equal(names, properties) {
		f.t.Errorf("properties %v, want %v", names, properties)
	}
	payload := one[string](f, "select payload from modulo.outbox where id = $1::text::bigint", m.Property("row_id"))
	for what, got := range map[string]string{
		"text": m.Text, "note": m.Property("note"), "correlation id": m.CorrelationID, "type": m.Type, "group id": m.GroupID,
	} {
		if got != payload {
			f.t.Errorf("%s of row %s: %q, want %q", what, m.Property("row_id"), got, payload)
		}
	}
}

// TestBytesAreData: a bytea payload may hold whole frames, NUL included.
func TestBytesAreData(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", `
jobs:
  blobs:
    source: {table: blob, id: id, where: not sent}
    done: {set: sent = true}
    message: {destination: /queue/blobs, payload: body}
`)
	bodies := []string{
		"\x00\nSEND\ndestination:/queue/blobs.evil\n\nboo\x00\n", "\x00", "", "\xff\xfe", "COMMIT\ntransaction:1\n\n\x00", strings.Repeat("\x00", 100_000),
	}
	f.exec("create table blob (id int primary key, body bytea, sent boolean not null default false)")
	for i, body := range bodies {
		f.exec("insert into blob values ($1, $2)", i, []byte(body))
	}
	f.ok("once")
	delivered := testservers.ConsumeFrom(t, testservers.Consumption{
		URL: f.mq.OpenWireURL(), Queues: []string{"blobs", "blobs.>"}, Expected: len(bodies),
	})
	got := map[string]string{}
	for _, m := range delivered {
		if m.Class != "BytesMessage" || m.Destination != "queue://blobs" {
			t.Errorf("a %s of %s", m.Class, m.Destination)
		}
		got[m.Property("event_id")] = string(m.Bytes)
	}
	for i, body := range bodies {
		if id := fmt.Sprint("blobs-", i); got[id] != body {
			t.Errorf("%s: %.100q, want %.100q", id, got[id], body)
		}
	}
	if len(delivered) != len(bodies) {
		t.Errorf("%d messages, want %d", len(delivered), len(bodies))
	}
}
