package main

import (
	"context"
	"fmt"
	"sync"

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

// besideTraces works while the exporter, if there is one, sends what the work tells, and lets it send the last of it.
func besideTraces(ctx context.Context, exporter *traces.Exporter, work func() error) error {
	if exporter == nil {
		return work()
	}
	exporting, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { exporter.Run(exporting) })
	err := work()
	stop()
	running.Wait()
	return err
}
