package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"modulo/broker"
	"modulo/broker/stomp"
	"modulo/jobs"
)

// broker logs in, looks for the tokens and sends a canary.
func (e *examination) broker(ctx context.Context, tokens []stomp.TokenName) {
	const group = "broker"
	mq, err := e.Broker(e.c.BrokerConfig())
	if err != nil {
		e.note(group, "configuration", Failure, "correct the section broker: docs/configuration.md", "%s", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	found, err := inspect(ctx, mq, tokens)
	switch {
	case stomp.IsDenied(err):
		e.note(group, "token-rights", Failure, e.tokenRights(), "the login is refused access to a token queue: %s", err)
	case err != nil:
		e.note(group, "login", Failure, "look at the address, the login, TLS, and the broker", "%s", err)
		return
	}
	name := found.Server
	if found.Version != "" {
		name = fmt.Sprintf("%s (%s)", found.Server, found.Version)
	}
	e.note(group, "login", OK, "", "%s at %s, confirm %s", name, found.Address, found.Confirm)
	e.keepsTokens(found)
	e.countTokens(tokens, found)
	if e.Canary {
		e.canary(ctx, mq)
	}
}

// A token that its worker replaces just now may be seen twice, or not at all: what is wrong has to stay wrong.
const (
	recounts     = 3
	recountPause = 200 * time.Millisecond
)

func inspect(ctx context.Context, mq broker.Broker, tokens []stomp.TokenName) (stomp.Inspection, error) {
	found, err := mq.Inspect(ctx, tokens)
	for range recounts {
		if err != nil || !slices.ContainsFunc(found.Counts, func(count int) bool { return count != 1 }) {
			break
		}
		select {
		case <-time.After(recountPause):
		case <-ctx.Done():
			return found, context.Cause(ctx)
		}
		found, err = mq.Inspect(ctx, tokens)
	}
	return found, err
}

// tokenRights are what the login needs.
func (e *examination) tokenRights() string {
	return fmt.Sprintf("give it read, write and admin on %s> (authorizationPlugin): docs/operations.md, Tokens", e.c.Broker.TokenPrefix)
}

// required says whether a job must not go without tokens.
func (e *examination) required() bool {
	for _, job := range e.c.JobList() {
		if job.Repeats == jobs.RepeatsNone {
			return true
		}
	}
	return false
}

func (e *examination) keepsTokens(found stomp.Inspection) {
	for _, job := range e.c.JobList() {
		if job.Repeats == jobs.RepeatsPossible || found.Tokens {
			continue
		}
		s := Warning
		if job.Repeats == jobs.RepeatsNone {
			s = Failure
		}
		e.note("broker", "repeats", s, "ActiveMQ Classic with confirm transaction, or repeats: possible",
			"rows of job %s can be repeated after a crash: this broker keeps no token", job.Name)
	}
	if found.Tokens && found.Silence == 0 && e.c.Broker.Heartbeat > 0 {
		e.note("broker", "heartbeat", Warning, "let the STOMP connector of the broker allow heart-beats",
			"the broker wants no heart-beats: it does not notice that the owner of a token is cut off")
	}
}

func (e *examination) countTokens(tokens []stomp.TokenName, found stomp.Inspection) {
	wrong := 0
	for i, count := range found.Counts {
		if count != 1 {
			wrong++
			t := tokens[i]
			e.note("broker", "token", Failure, fmt.Sprintf("docs/operations.md, Tokens; modulo workers reset-token %s %d --force", t.Job, t.Worker),
				"worker %d of job %s has %d tokens, not one", t.Worker, t.Job, count)
		}
	}
	if n := len(found.Counts); n > 0 {
		e.note("broker", "tokens", OK, "", "%d token queues looked at, %d with one token", n, n-wrong)
	}
}

// canary proves by a message what a receipt is worth.
func (e *examination) canary(ctx context.Context, mq broker.Broker) {
	const group, name = "broker", "canary"
	c, err := mq.Canary(ctx)
	switch {
	case errors.Is(err, stomp.ErrNoCanary):
		e.note(group, name, OK, "", "%s", err)
		return
	case stomp.IsDenied(err):
		s := Warning // without the right to tokens a job goes on, unless it must not
		if e.required() {
			s = Failure
		}
		e.note(group, name, s, e.tokenRights()+"; or --no-canary", "the login is refused access to %s: %s", c.Queue, err)
		return
	case err != nil:
		e.note(group, name, Failure, "look at the broker and its log", "%s", err)
		return
	}
	if !c.Persistent {
		e.note(group, name, Failure, "look for a plugin or an interceptor of the broker that changes messages",
			"a persistent message came back as one that is not: a restart of the broker loses events")
	}
	if !c.Text {
		e.note(group, name, Failure, "look for a plugin or an interceptor of the broker that changes messages",
			"a text came back as something else: consumers will not get a TextMessage")
	}
	if c.Persistent && c.Text {
		e.note(group, name, OK, "", "a message went to %s and came back in %s: persistent, text", c.Queue, c.Took.Round(time.Millisecond))
	}
	e.skew(group, "clock", c.Skew, "the broker")
}
