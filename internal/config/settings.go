package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Origin is where the value of a setting came from.
type Origin string

const (
	OriginFlag        Origin = "flag"
	OriginEnvironment Origin = "environment"
	OriginFile        Origin = "file"
	OriginDefault     Origin = "default"
)

// Setting is one value in force.
type Setting struct {
	Key    string `json:"key"`   // as in the file, as in "broker.receipt_timeout"
	Value  string `json:"value"` // secrets are masked
	Origin Origin `json:"origin"`
}

// Settings lists every value in force that is not empty, in the order of the file's reference, with secrets masked. Of
// jobs only those that were selected are listed.
func (c *Config) Settings() ([]Setting, error) {
	selected := *c
	selected.Jobs = map[string]rawJob{}
	for _, job := range c.jobs {
		selected.Jobs[job.Name] = c.Jobs[job.Name]
	}
	var tree yaml.Node
	if err := tree.Encode(&selected); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	var list []Setting
	flatten("", &tree, func(key string, node *yaml.Node) {
		if value := plain(node); value != "" {
			list = append(list, Setting{key, mask(key, value), c.origin(key)})
		}
	})
	return list, nil
}

// flatten visits the leaves of a mapping, with their keys joined by dots.
func flatten(prefix string, node *yaml.Node, visit func(string, *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		visit(prefix, node)
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i].Value
		if prefix != "" {
			key = prefix + "." + key
		}
		flatten(key, node.Content[i+1], visit)
	}
}

// plain writes a leaf on one line.
func plain(node *yaml.Node) string {
	if node.Kind == yaml.SequenceNode {
		items := make([]string, len(node.Content))
		for i, item := range node.Content {
			items[i] = item.Value
		}
		return strings.Join(items, ", ")
	}
	if node.Tag == "!!null" {
		return ""
	}
	return node.Value
}

// origin finds where a value came from: the last of default, file, environment and flag that has one.
func (c *Config) origin(key string) Origin {
	if flag := c.over.flagOf(key); flag != "" {
		if slices.Contains(c.over.Environment, flag) {
			return OriginEnvironment
		}
		return OriginFlag
	}
	found := OriginDefault
	if len(c.document.Content) > 0 {
		flatten("", c.document.Content[0], func(written string, _ *yaml.Node) {
			if written == key {
				found = OriginFile
			}
		})
	}
	return found
}

// flagOf names the flag that overrode a key; empty: none did.
func (o Overrides) flagOf(key string) string {
	setting := key
	if parts := strings.SplitN(key, ".", 3); parts[0] == "jobs" && len(parts) == 3 {
		setting = "jobs." + parts[2]
	}
	for _, f := range []struct {
		key, flag string
		given     bool
	}{
		{"database.url", "database-url", o.DatabaseURL != ""},
		{"broker.url", "broker-url", o.BrokerURL != ""},
		{"broker.confirm", "confirm", o.Confirm != ""},
		{"broker.window", "window", o.Window != nil},
		{"http.listen", "http", o.HTTP != nil},
		{"http.pprof", "pprof", o.Pprof},
		{"traces", "traces", o.Traces != ""},
		{"jobs.workers", "workers", o.Workers != nil},
		{"jobs.batch", "batch", o.Batch != nil},
		{"jobs.every", "every", o.Every != nil},
		{"jobs.cron", "cron", o.Cron != ""},
		{"jobs.timezone", "timezone", o.Timezone != ""},
		{"jobs.every", "cron", o.Cron != ""}, // which takes its place, as it does theirs
		{"jobs.cron", "every", o.Every != nil},
		{"jobs.timezone", "every", o.Every != nil},
		{"jobs.repeats", "repeats", o.Repeats != ""},
	} {
		if f.key == setting && f.given {
			return f.flag
		}
	}
	return ""
}

// MarshalYAML writes the duration as it is read.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// MarshalYAML writes the payload as it is read.
func (p payload) MarshalYAML() (any, error) {
	switch {
	case p.Row:
		return "row", nil
	case p.SQL != "":
		return "sql: " + p.SQL, nil
	}
	return p.Column, nil
}

// MarshalYAML writes the range as it is read.
func (b backoffRange) MarshalYAML() (any, error) { return b.min.String() + ".." + b.max.String(), nil }
