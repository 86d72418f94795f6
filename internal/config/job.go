package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"modulo/jobs"
	"modulo/store"
)

// outboxJob is the job of store.OutboxTable, unless its settings name another table.
const outboxJob = "outbox"

// rawJob is a job as it stands in the file. What is empty or nil gets its default in job.
type rawJob struct {
	Workers  *int      `yaml:"workers"`
	Every    *Duration `yaml:"every"`
	Cron     string    `yaml:"cron"`
	Timezone string    `yaml:"timezone"`
	Listen   bool      `yaml:"listen"`
	Batch    *int      `yaml:"batch"`
	Source   struct {
		Table   string `yaml:"table"`
		ID      string `yaml:"id"`
		Where   string `yaml:"where"`
		ShardBy string `yaml:"shard_by"`
	} `yaml:"source"`
	Done struct {
		Set string `yaml:"set"`
	} `yaml:"done"`
	Ordered bool   `yaml:"ordered"`
	Repeats string `yaml:"repeats"`
	Message struct {
		Destination   string            `yaml:"destination"`
		Allow         []string          `yaml:"allow"`
		Payload       payload           `yaml:"payload"`
		Columns       []string          `yaml:"columns"`
		Headers       map[string]string `yaml:"headers"`
		HeadersColumn string            `yaml:"headers_column"`
		EventID       string            `yaml:"event_id"`
		MaxBody       *int              `yaml:"max_body"`
	} `yaml:"message"`
	Retry struct {
		MaxAttempts *int          `yaml:"max_attempts"`
		Backoff     *backoffRange `yaml:"backoff"`
	} `yaml:"retry"`
}

// job fills in the defaults and checks the result.
func (r *rawJob) job(name string, over Overrides) (*jobs.Job, error) {
	r.override(over)
	stated := r.Workers != nil
	if r.Source.Table == "" && name == outboxJob {
		r.Source.Table = store.OutboxTable
	}
	if r.Source.Table == store.OutboxTable {
		r.outboxDefaults()
	}
	r.generalDefaults(name)
	job := &jobs.Job{
		Name: name, Workers: *r.Workers, Stated: stated, Batch: *r.Batch, Listen: r.Listen, Ordered: r.Ordered,
		Schedule: jobs.Schedule{Cron: r.Cron, Timezone: r.Timezone},
		Source: jobs.Source{
			Table: r.Source.Table, ID: r.Source.ID, Where: r.Source.Where, ShardBy: r.Source.ShardBy, DoneSet: r.Done.Set,
		},
		Message: jobs.MessageSpec{
			Destination: r.Message.Destination, Allow: r.Message.Allow, Payload: jobs.Payload(r.Message.Payload),
			HeadersColumn: r.Message.HeadersColumn, EventID: r.Message.EventID, MaxBody: *r.Message.MaxBody,
		},
		Repeats: jobs.Repeats(r.Repeats),
		Retry: jobs.RetryPolicy{
			MaxAttempts: *r.Retry.MaxAttempts,
			MinBackoff:  r.Retry.Backoff.min, MaxBackoff: r.Retry.Backoff.max,
		},
	}
	if r.Every != nil {
		job.Schedule.Every = time.Duration(*r.Every)
	}
	job.Message.Payload.Columns = r.Message.Columns
	for header, template := range r.Message.Headers {
		job.Message.Headers = append(job.Message.Headers, jobs.HeaderSpec{Name: header, Template: template})
	}
	slices.SortFunc(job.Message.Headers, func(a, b jobs.HeaderSpec) int { return strings.Compare(a.Name, b.Name) })
	return job, job.Check()
}

func (r *rawJob) override(over Overrides) {
	r.Workers = cmp.Or(over.Workers, r.Workers)
	r.Batch = cmp.Or(over.Batch, r.Batch)
	r.Repeats = cmp.Or(over.Repeats, r.Repeats)
	if over.Every != nil {
		r.Every, r.Cron, r.Timezone = new(Duration(*over.Every)), "", ""
	}
	if over.Cron != "" {
		r.Every, r.Cron = nil, over.Cron
	}
	r.Timezone = cmp.Or(over.Timezone, r.Timezone)
}

func (r *rawJob) generalDefaults(name string) {
	r.Workers = cmp.Or(r.Workers, new(5))
	r.Batch = cmp.Or(r.Batch, new(1000))
	if r.Every == nil && r.Cron == "" {
		r.Every = new(Duration(500 * time.Millisecond))
	}
	if r.Message.Allow == nil {
		r.Message.Allow = []string{jobs.DefaultDestinations}
	}
	if !r.Message.Payload.Row && r.Message.Payload.Column == "" && r.Message.Payload.SQL == "" {
		r.Message.Payload.Row = true
	}
	if r.Source.ID != "" {
		r.Message.EventID = cmp.Or(r.Message.EventID, fmt.Sprintf("%s-{%s}", name, r.Source.ID))
	}
	r.Message.MaxBody = cmp.Or(r.Message.MaxBody, new(jobs.DefaultMaxBody))
	r.Retry.MaxAttempts = cmp.Or(r.Retry.MaxAttempts, new(8))
	r.Retry.Backoff = cmp.Or(r.Retry.Backoff, &backoffRange{time.Second, 15 * time.Minute})
}

// outboxDefaults makes the job of our own table: the same mechanism as for any other table, with these settings.
func (r *rawJob) outboxDefaults() {
	r.Source.ID = cmp.Or(r.Source.ID, "id")
	r.Source.Where = cmp.Or(r.Source.Where, "done_at is null")
	r.Done.Set = cmp.Or(r.Done.Set, "done_at = now()")
	r.Message.Destination = cmp.Or(r.Message.Destination, "{destination}")
	r.Message.EventID = cmp.Or(r.Message.EventID, "{event_id}")
	r.Message.HeadersColumn = cmp.Or(r.Message.HeadersColumn, "headers")
	if r.Message.Headers == nil {
		r.Message.Headers = map[string]string{"type": "{type}", "JMSXGroupID": "{key}"}
	}
	if !r.Message.Payload.Row && r.Message.Payload.SQL == "" {
		r.Message.Payload.Column = cmp.Or(r.Message.Payload.Column, "payload")
	}
}

// payload is "row", a column's name, or an expression as {sql: "..."} or "sql: ...".
type payload jobs.Payload

func (p *payload) UnmarshalYAML(node *yaml.Node) error {
	text := node.Value
	if node.Kind == yaml.MappingNode {
		var keys map[string]string
		if err := node.Decode(&keys); err == nil && len(keys) == 1 {
			text = "sql:" + keys["sql"]
		}
	}
	expression, isSQL := strings.CutPrefix(text, "sql:")
	expression = strings.TrimSpace(expression)
	switch {
	case expression == "":
		return wanted(node, "row, a column name, or {sql: expression}")
	case isSQL:
		p.SQL = expression
	case text == "row":
		p.Row = true
	default:
		p.Column = text
	}
	return nil
}

// Duration is a time.Duration written as in "500ms" or "1m30s".
type Duration time.Duration

func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(node.Value)
	if err != nil {
		return wanted(node, "a duration like 500ms or 1m30s")
	}
	*d = Duration(parsed)
	return nil
}

// backoffRange is written as in "1s..15m".
type backoffRange struct{ min, max time.Duration }

func (b *backoffRange) UnmarshalYAML(node *yaml.Node) error {
	low, high, ok := strings.Cut(node.Value, "..")
	var err1, err2 error
	b.min, err1 = time.ParseDuration(low)
	b.max, err2 = time.ParseDuration(high)
	if !ok || err1 != nil || err2 != nil {
		return wanted(node, "a range like 1s..15m")
	}
	return nil
}

// wanted is an error that does not end the reading of the file, so that all of them are told at once.
func wanted(node *yaml.Node, what string) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: want %s", node.Line, what)}}
}
