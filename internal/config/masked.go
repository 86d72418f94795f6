package config

import (
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"
)

// mask stands for a secret.
const mask = "xxxxx"

// Masked is the configuration in force as a file, without its secrets: defaults, file, environment and flags together. Read
// again it means the same, but for the secrets.
func (c *Config) Masked() ([]byte, error) {
	shown := *c
	shown.Database.URL, shown.Database.ListenURL = maskLogin(c.Database.URL), maskLogin(c.Database.ListenURL)
	shown.Broker.URL = maskLogin(c.Broker.URL)
	switch {
	case c.Broker.PasswordFile != "":
		shown.Broker.Password = "" // it came from there
	case c.Broker.Password != "":
		shown.Broker.Password = mask
	}
	address, _ := c.Listen()
	if address == "" {
		address = "off"
	}
	shown.HTTP.Listen = &address
	shown.Jobs = c.inForce
	return yaml.Marshal(&shown)
}

var (
	// keyword is a password among the keywords of a connection string, or the parameters of a URL.
	keyword = regexp.MustCompile(`(?i)(password(?:\s*=\s*|=))('(?:[^'\\]|\\.)*'|[^\s'&]+)`)
	// login is what stands before the @ of an address, from the first colon on; a password with a slash or a @ in it, which
	// should be encoded, is found too.
	login = regexp.MustCompile(`(://[^:@/?,]*):([^,]*)@`)
)

// maskLogin masks the passwords of a URL, of several separated by commas, or of a connection string of keywords.
func maskLogin(text string) string {
	return login.ReplaceAllString(keyword.ReplaceAllString(text, "${1}"+mask), "${1}:"+mask+"@")
}

// MarshalYAML writes what UnmarshalYAML reads.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// MarshalYAML writes what UnmarshalYAML reads.
func (b backoffRange) MarshalYAML() (any, error) { return b.min.String() + ".." + b.max.String(), nil }

// MarshalYAML writes what UnmarshalYAML reads.
func (p payload) MarshalYAML() (any, error) {
	switch {
	case p.Row:
		return "row", nil
	case p.SQL != "":
		return map[string]string{"sql": p.SQL}, nil
	}
	return p.Column, nil
}
