package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"modulo/jobs"
)

var tokenPrefix = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// checkFence: a broker that expects no heart-beats leaves the token in the hands of an owner that is cut off, for ever.
func (c *Config) checkFence(job *jobs.Job) error {
	if job.Repeats == jobs.RepeatsNone && c.Broker.Heartbeat <= 0 {
		return fmt.Errorf("job %s: repeats: none needs heart-beats, by which the broker notices that an owner is cut off: broker.heartbeat is %s, the default is %s",
			job.Name, time.Duration(c.Broker.Heartbeat), time.Duration(defaults().Broker.Heartbeat))
	}
	return nil
}

func (c *Config) checkDatabase() error {
	if c.Database.MaxConns < 2 || c.Database.MaxConns > 10_000 {
		return fmt.Errorf("database.max_conns: %d is not within 2 and 10000", c.Database.MaxConns)
	}
	if c.Database.StatementTimeout < Duration(time.Second) {
		return fmt.Errorf("database.statement_timeout: %s is less than 1s", time.Duration(c.Database.StatementTimeout))
	}
	return nil
}

func (c *Config) checkBroker() error {
	var problems []error
	if c.Broker.Window < 1 {
		problems = append(problems, fmt.Errorf("broker.window: %d is less than 1", c.Broker.Window))
	}
	if c.Broker.ReceiptTimeout <= 0 {
		problems = append(problems, fmt.Errorf("broker.receipt_timeout: %s is no time to wait; the default is %s",
			time.Duration(c.Broker.ReceiptTimeout), time.Duration(defaults().Broker.ReceiptTimeout)))
	}
	if !tokenPrefix.MatchString(c.Broker.TokenPrefix) {
		problems = append(problems, fmt.Errorf("broker.token_prefix: %.120q is not 1 to 100 of A-Z, a-z, 0-9, \".\", \"_\", \"-\"", c.Broker.TokenPrefix))
	}
	return errors.Join(problems...)
}

func (c *Config) checkOwnership() error {
	if err := c.Timing().Check(); err != nil {
		return fmt.Errorf("ownership: %w", err)
	}
	return nil
}

func (r Retention) check() error {
	var problems []error
	for name, keep := range r.Kept() {
		if keep < minRetention {
			problems = append(problems, fmt.Errorf("retention.%s: %s is less than %s", name, time.Duration(keep), time.Duration(minRetention)))
		}
	}
	if r.Every < minLook {
		problems = append(problems, fmt.Errorf("retention.every: %s is less than %s", time.Duration(r.Every), time.Duration(minLook)))
	}
	return errors.Join(problems...)
}

var httpPrefix = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

func (c *Config) checkHTTP() error {
	if !httpPrefix.MatchString(c.HTTP.Prefix) {
		return fmt.Errorf("http.prefix %q: want a path without a slash at its end, as in /modulo", c.HTTP.Prefix)
	}
	address, _ := c.Listen()
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if _, notPort := strconv.ParseUint(port, 10, 16); err != nil || notPort != nil {
		return fmt.Errorf("http.listen %q: want host:port, as in %s, :8080 for all addresses, or off", address, DefaultListen)
	}
	return nil
}
