package main

import (
	"fmt"

	"github.com/rs/zerolog"

	"modulo/internal/config"
	"modulo/internal/traces"
)

// exporter sends traces; nil where they are off.
func (a *app) exporter(c *config.Config, log zerolog.Logger) (*traces.Exporter, error) {
	if c.Traces != config.TracesOTLP {
		return nil, nil
	}
	settings, err := traces.FromEnvironment(a.lookupEnv, version())
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("traces: %w", err))
	}
	exporter, err := traces.New(settings, log)
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("traces: %w", err))
	}
	return exporter, nil
}
