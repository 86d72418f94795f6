package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modulo/internal/config"
)

// Every setting tells where it came from, and no secret is shown.
func TestSettings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "modulo.yaml")
	text := `
database: {url: "postgres://app:s3cret@db1,db2/x?sslpassword=s3cret&sslmode=require"}
broker: {url: "stomp://u:s3cret@mq1:61613,stomp+tls://u:s3cr@et@mq2:61613", password: s3cret, window: 64}
jobs: {outbox: {workers: 7, retry: {backoff: 2s..1m}, message: {headers: {apiKey: "x-s3cret", Auth: "x-s3cret", accessToken: "{key}", type: Plain,
  url: "https://u:s3cret@host/a", place: "https://host/?b={id}", author: Ann, hook: "https://host/a?sig=s3cret&b={id}&s3cret",
  part: "https://host/#t=s3cret", signed: "https://host/?b={id}&a=s3cr-{id}", odd: "https://host/?a=1;b=s3cret", key: "https://s3cret@host/a",
  info: "Digest s3cret", bearer: "Bearer s3cret", private_key: s3cret, pwd: s3cret, Cookie: "id=s3cret", hint: "password=s3cret"}}}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	batch, window := 50, 32
	c, err := config.Load(file, func(string) (string, bool) { return "", false }, config.Overrides{
		Batch: &batch, Window: &window, Environment: []string{"window"},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.Settings()
	if err != nil {
		t.Fatal(err)
	}
	printed, err := c.Masked()
	if err != nil || strings.Contains(string(printed), "s3cr") {
		t.Errorf("%v, printed:\n%s", err, printed)
	}
	got := map[string]string{}
	for _, s := range list {
		got[s.Key] = s.Value + " by " + string(s.Origin)
		if strings.Contains(s.Value, "s3cr") {
			t.Errorf("%s shows a secret: %s", s.Key, s.Value)
		}
	}
	for key, want := range map[string]string{
		"database.url":                            "postgres://app:********@db1,db2/x?sslpassword=********&sslmode=require by file",
		"broker.url":                              "stomp://u:********@mq1:61613,stomp+tls://u:********@mq2:61613 by file",
		"broker.password":                         "******** by file",
		"broker.window":                           "32 by environment",
		"broker.receipt_timeout":                  "30s by default",
		"jobs.outbox.batch":                       "50 by flag",
		"jobs.outbox.workers":                     "7 by file",
		"jobs.outbox.message.headers.apiKey":      "******** by file",
		"jobs.outbox.message.headers.Auth":        "******** by file",
		"jobs.outbox.message.headers.accessToken": "{key} by file",
		"jobs.outbox.message.headers.type":        "Plain by file",
		"jobs.outbox.message.headers.place":       "https://host/?b={id} by file",
		"jobs.outbox.message.headers.hook":        "https://host/a?sig=********&b={id}&******** by file",
		"jobs.outbox.message.headers.part":        "https://host/#t=******** by file",
		"jobs.outbox.message.headers.signed":      "https://host/?b={id}&a=******** by file",
		"jobs.outbox.message.headers.key":         "https://********@host/a by file",
		"jobs.outbox.message.headers.odd":         "https://host/?******** by file",
		"jobs.outbox.message.headers.author":      "Ann by file",
		"jobs.outbox.message.headers.url":         "https://u:********@host/a by file",
		"jobs.outbox.retry.backoff":               "2s..1m0s by file",
		"jobs.outbox.every":                       "500ms by default",
		"jobs.outbox.message.allow":               "/queue/* by default",
	} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
}
