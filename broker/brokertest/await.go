package brokertest

import (
	"errors"
	"testing"
	"time"

	"modulo/internal/faultproxy"
	"modulo/jobs"
)

// Await polls until the condition holds and fails the test if it takes too long.
func Await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s after %s", what, patience)
		}
	}
}

// Proxy starts a fault proxy for the test.
func Proxy(t testing.TB, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// PublishFailed returns the error of a Publish that must have failed.
func PublishFailed(t testing.TB, err error) *jobs.PublishError {
	t.Helper()
	failed, ok := errors.AsType[*jobs.PublishError](err)
	if !ok {
		t.Fatalf("publish returned %v, want a *jobs.PublishError", err)
	}
	return failed
}

// ConnectFailed returns the error of a Connect that must have failed.
func ConnectFailed(t testing.TB, err error) *jobs.ConnectError {
	t.Helper()
	failed, ok := errors.AsType[*jobs.ConnectError](err)
	if !ok {
		t.Fatalf("connect returned %v, want a *jobs.ConnectError", err)
	}
	return failed
}
