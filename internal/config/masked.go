package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Masked is the configuration in force as a file, without its secrets: defaults, file, environment and flags together. Read
// again it means the same, but for the secrets.
func (c *Config) Masked() ([]byte, error) {
	shown := *c
	if c.Broker.PasswordFile != "" {
		shown.Broker.Password = "" // it came from there
	}
	address, _ := c.Listen()
	if address == "" {
		address = "off"
	}
	shown.HTTP.Listen = &address
	shown.Jobs = map[string]rawJob{}
	for _, job := range c.jobs {
		raw := c.Jobs[job.Name]
		if !job.Stated {
			raw.Workers = nil // a default is nothing that somebody stated
		}
		shown.Jobs[job.Name] = raw
	}
	var tree yaml.Node
	if err := tree.Encode(&shown); err != nil {
		return nil, fmt.Errorf("masked configuration: %w", err)
	}
	flatten("", &tree, func(key string, node *yaml.Node) {
		if text := mask(key, node.Value); text != node.Value {
			node.SetString(text)
		}
	})
	return yaml.Marshal(&tree)
}
