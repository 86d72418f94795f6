package config

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestVariableStaysOneValue: whatever a variable holds, it arrives as it is, quoted in the file or not.
func TestVariableStaysOneValue(t *testing.T) {
	t.Parallel()
	values := []string{
		"null", "~", "", "true", "no", "0x10", "1_000", "12", "-1", "1e3", ".inf", "2001-01-01", "<<", "=", "*a", "&a", "!!int 5", "!x",
		"# no comment", "a: b", "- a", "[a]", "{a: b}", "'", `"`, "|", "a\nb: c", " a ", "\ta", "${OTHER}", "$VALUE", "%", "@", "`", "\u2028",
	}
	check := func(fatalf func(string, ...any), value string) {
		for _, text := range []string{"broker: {username: \"${VALUE}\"}", "broker:\n  username: ${VALUE}\n", "broker: {username: '${VALUE}'}"} {
			c, err := load(t, text, map[string]string{"VALUE": value}, Overrides{})
			if err != nil {
				fatalf("%q in %q: %v", value, text, err)
			} else if c.Broker.Username != value {
				fatalf("%q in %q became %q", value, text, c.Broker.Username)
			}
		}
	}
	for _, value := range values {
		check(t.Errorf, value)
	}
	rapid.Check(t, func(t *rapid.T) { check(t.Fatalf, rapid.String().Draw(t, "value")) })
}

// TestVariableOfAnyKind, also where flow style makes quotes necessary.
func TestVariableOfAnyKind(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"INT": "7", "BOOL": "true", "TIME": "90s", "BOTH": "1s..2s", "NAME": "b", "SQL": "to_jsonb(t)"}
	c := mustLoad(t, `jobs: {outbox: {workers: "${INT}", ordered: "${BOOL}", every: "${TIME}", source: {shard_by: "${NAME}"},
  retry: {backoff: "${BOTH}"}, message: {payload: {sql: "${SQL}"}, headers: {x: "${INT}"}, allow: ["/queue/${NAME}", "/queue/*"]}}}`,
		environment, Overrides{})
	job := c.JobList()[0]
	if job.Workers != 7 || !job.Ordered || job.Schedule.Every != 90*time.Second || job.Source.ShardBy != "b" || job.Retry.MaxBackoff != 2*time.Second ||
		job.Message.Payload.SQL != "to_jsonb(t)" || job.Message.Headers[0].Template != "7" || job.Message.Allow[0] != "/queue/b" {
		t.Errorf("%+v", job)
	}
	for text, want := range map[string]string{
		"jobs:\n  outbox:\n    workers: ${TEXT}\n":            "line 3: want a whole number",
		"jobs:\n  outbox:\n    workers: ${EMPTY}\n":           "line 3: want a whole number",
		"jobs:\n  outbox:\n    ordered: ${INT}\n":             "line 3: want true or false",
		"jobs:\n  outbox:\n    every: ${INT}\n":               "line 3: want a duration",
		"jobs:\n  outbox:\n    every: ${VARIABLE}\n":          "line 3: want a duration",
		"jobs:\n  outbox:\n    retry: {backoff: '${TEXT}'}\n": "line 3",
		"jobs:\n  outbox:\n    message: {allow: '${TEXT}'}\n": "line 3: want a list",
	} {
		_, err := load(t, text, map[string]string{"TEXT": "secret", "EMPTY": "", "INT": "7", "VARIABLE": "${INT}"}, Overrides{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestNotSetVariablesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load(t, "database: {url: \"${A}\"}\nbroker:\n  url: \"${B}:${C}\"\n", map[string]string{"C": ""}, Overrides{})
	for _, want := range []string{"line 1: environment variable A is not set", "line 3: environment variable B is not set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestOverriddenVariablesNeedNotBeSet: a flag gives the value in force.
func TestOverriddenVariablesNeedNotBeSet(t *testing.T) {
	t.Parallel()
	const text = "database: {url: '${A}'}\nbroker: {url: '${B}'}\njobs: {outbox: {cron: '${C}'}}\n"
	over := Overrides{DatabaseURL: "postgres://db/x", BrokerURL: "stomp://mq:1", Cron: "@hourly"}
	c := mustLoad(t, text, nil, over)
	if c.Database.URL != over.DatabaseURL || c.Broker.URL != over.BrokerURL || c.JobList()[0].Schedule.Cron != over.Cron {
		t.Errorf("%+v", c)
	}
	workers, every := 3, time.Second
	job := mustLoad(t, "jobs: {outbox: {workers: '${K}', every: '${E}'}}", nil, Overrides{Workers: &workers, Every: &every}).JobList()[0]
	if job.Workers != workers || job.Schedule.Every != every {
		t.Errorf("%+v", job)
	}
	job = mustLoad(t, "jobs: {outbox: {every: '${E}'}}", nil, Overrides{Cron: "@hourly"}).JobList()[0]
	if job.Schedule.Cron != "@hourly" {
		t.Errorf("%+v", job)
	}
	job = mustLoad(t, "jobs: {outbox: {cron: '${C}', timezone: '${Z}'}}", nil, Overrides{Every: &every}).JobList()[0]
	if job.Schedule.Every != every {
		t.Errorf("%+v", job)
	}
	for text, name := range map[string]string{
		"database: {url: '${A}', listen_url: '${B}'}":         "B",
		"database: {url: &a '${A}', listen_url: *a}":          "A",
		"database: {url: '${A}'}\nbroker: {username: '${B}'}": "B",
	} {
		_, err := load(t, text, nil, Overrides{DatabaseURL: "postgres://db/x"})
		if want := "environment variable " + name + " is not set"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want only %q", text, err, want)
		}
	}
}
