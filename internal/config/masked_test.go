package config

import (
	"reflect"
	"testing"
)

// What is printed means the same when it is read again.
func TestMaskedIsAFile(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"none":      "",
		"own table": ownTable,
		"everything": `
database: {url: postgres://db/app, listen_url: postgres://direct/app, max_conns: 7, statement_timeout: 90s}
broker: {url: "stomp://mq1,stomp://mq2", username: app, confirm: receipt, window: 3, heartbeat: 7s}
ownership: {lease: 30s}
http: {listen: ":9090", pprof: true}
traces: otlp
jobs:
  invoices:
    workers: 8
    cron: "*/5 * * * *"
    timezone: Europe/Berlin
    source: {table: billing.invoice, id: invoice_id, where: "sent_at is null", shard_by: customer}
    done: {set: "sent_at = now()"}
    ordered: true
    repeats: none
    message: {destination: "/queue/{region}", allow: ["/queue/*"], payload: {sql: "a || b"}, headers: {type: A}}
    retry: {max_attempts: 3, backoff: 2s..1h}
`,
	} {
		first := mustLoad(t, text, nil, Overrides{})
		printed, err := first.Masked()
		if err != nil {
			t.Fatal(err)
		}
		second := mustLoad(t, string(printed), nil, Overrides{})
		again, err := second.Masked()
		if err != nil {
			t.Fatal(err)
		}
		if string(printed) != string(again) {
			t.Errorf("%s:\n%s\nread again:\n%s", name, printed, again)
		}
		for i, job := range first.JobList() {
			if got := second.JobList()[i]; got.Source != job.Source || got.Schedule != job.Schedule || got.Stated != job.Stated ||
				!reflect.DeepEqual(got.Retry, job.Retry) || got.Message.Destination != job.Message.Destination || got.Message.Payload.SQL != job.Message.Payload.SQL {
				t.Errorf("%s: %+v\nread again: %+v", name, job, got)
			}
		}
	}
}

func TestMask(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "",
		"postgres://db/app":          "postgres://db/app",
		"postgres://app@db:5432/app": "postgres://app@db:5432/app",
		"postgres://app:secret@db1:5432,db2:5432/app?sslmode=require": "postgres://app:********@db1:5432,db2:5432/app?sslmode=require",
		"postgres://db/app?password=secret&user=app":                  "postgres://db/app?password=********&user=app",
		"postgres://db/app?pass%77ord=secret&sslkey=/etc/key":         "postgres://db/app?pass%77ord=********&sslkey=/etc/key",
		"postgres://db:5432/app?password=sec@ret":                     "postgres://********",
		"postgres://u@db:5432/app?password=p@secret&x=1":              "postgres://********",
		"host=db password=secret user=app":                            "host=db password=******** user=app",
		`host=db password = 'sec ret\'s secret' sslpassword=secret`:   "host=db password = ******** sslpassword=********",
		"stomp://a:secret@mq1:61613,stomp+tls://b:se/cr@et@mq2":       "stomp://a:********@mq1:61613,stomp+tls://b:********@mq2",
		"stomp://a:secret,stompsecret@mq":                             "stomp://a:********@mq",
	} {
		if got := mask("broker.url", text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
