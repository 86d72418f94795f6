package config

import (
	"maps"

	"go.yaml.in/yaml/v3"
)

// Masked is the configuration in force as a file, without its secrets: defaults, file, environment and flags together. Read
// again it means the same, but for the secrets.
func (c *Config) Masked() ([]byte, error) {
	shown := *c
	shown.Database.URL = mask("database.url", c.Database.URL)
	shown.Database.ListenURL = mask("database.listen_url", c.Database.ListenURL)
	shown.Broker.URL = mask("broker.url", c.Broker.URL)
	switch {
	case c.Broker.PasswordFile != "":
		shown.Broker.Password = "" // it came from there
	case c.Broker.Password != "":
		shown.Broker.Password = masked
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
		headers := maps.Clone(raw.Message.Headers)
		for name, value := range headers {
			headers[name] = maskHeader(name, value)
		}
		raw.Message.Headers = headers
		shown.Jobs[job.Name] = raw
	}
	return yaml.Marshal(&shown)
}
