package config

import (
	"strings"
	"testing"
)

// TestNothingIsIgnored: what has no effect is an error, so that nobody believes it has.
func TestNothingIsIgnored(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"broker: {window: 5}\n---\nbroker: {window: 6}\n":                     "line 2: a second document",
		"broker: {window: 5}\n---\n":                                          "a second document",
		"broker: {window: 5, window: 6}\n":                                    "already",
		"jobs:\n  outbox: {workers: 5}\n  outbox: {workers: 6}\n":             "line 3",
		"jobs:\n  outbox:\n    workers: 5\n    workers: 6\n":                  "line 4",
		"jobs:\n  outbox:\n    every: 0s\n":                                   "every",
		"jobs:\n  outbox:\n    retry: {backoff: 0s..0s}\n":                    "retry.backoff: 0s..0s",
		"jobs:\n  outbox:\n    retry: {backoff: 1s..2s..3s}\n":                "line 3: want a range",
		"jobs:\n  outbox:\n    retry: {backoff: [1s, 2s]}\n":                  "line 3: want a range",
		"jobs:\n  outbox:\n    message: {payload: ''}\n":                      "line 3: want row, a column name",
		"jobs:\n  outbox:\n    message: {payload: [a]}\n":                     "line 3: want row, a column name",
		"jobs:\n  outbox:\n    message: {payload: 'sql: '}\n":                 "line 3: want row, a column name",
		"jobs:\n  outbox:\n    message: {payload: {sql: ''}}\n":               "line 3: want row, a column name",
		"jobs:\n  outbox:\n    message: {payload: {column: a}}\n":             "line 3: want row, a column name",
		"jobs:\n  outbox:\n    message: {payload: {sql: a, column: b}}\n":     "line 3: want row, a column name",
		"jobs:\n  outbox:\n    message: {columns: [a]}\n":                     "message.columns",
		"# comment\n\nbroker:\n  heartbeat: 5\n  receipt_timeout: 5\n":        "line 5: want a duration",
		"broker:\n  heartbeat: 5\n  colour: red\n":                            `line 3: unknown key "colour"`,
		"broker:\r\n  heartbeat: 5s\r\n  colour: red\r\n":                     `line 3: unknown key "colour"`,
		"jobs:\n  outbox:\n    done: {set: a, sett: b}\n":                     `line 3: unknown key "sett"`,
		"jobs:\n  outbox:\n    retry: {backof: 1s..2s}\n":                     `line 3: unknown key "backof"`,
		"jobs:\n  outbox:\n    source: &s {table: modulo.outbox, idd: a}\n":   `line 3: unknown key "idd"`,
		"database: {urls: a}\nbroker: {urls: a}\njobs: {outbox: {urls: [a]}}": "line 3: unknown key",
		"jobs:\n  outbox:\n    workers: 5.7\n":                                "line 3: want a whole number",
		"jobs:\n  outbox:\n    batch: 1e2\n":                                  "line 3: want a whole number",
		"broker: {window: 5.0}\n":                                             "line 1: want a whole number",
		"jobs: {a: &a {workers: 5.5}, b: *a}\n":                               "line 1: want a whole number",
		"database: 5\nbroker: a\n":                                            "line 2: want keys with values",
	} {
		_, err := load(t, text, nil, Overrides{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), "config.") || strings.Contains(err.Error(), "!!") {
			t.Errorf("%q: %v names our types", text, err)
		}
	}
}

func TestWindowsLineEnds(t *testing.T) {
	t.Parallel()
	text := "\ufeff" + strings.ReplaceAll("broker:\n  username: a\n"+ownTable, "\n", "\r\n")
	c := mustLoad(t, text, nil, Overrides{})
	if c.Broker.Username != "a" || c.JobList()[0].Source.Table != "billing.invoice" {
		t.Errorf("%+v", c)
	}
}

// TestFractionIsText where text is wanted.
func TestFractionIsText(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "broker: {username: 1.50}\njobs: {outbox: {message: {headers: {version: 2.10}}}}\n", nil, Overrides{})
	if version := c.JobList()[0].Message.Headers[0].Template; c.Broker.Username != "1.50" || version != "2.10" {
		t.Errorf("username %s, version %s", c.Broker.Username, version)
	}
}
