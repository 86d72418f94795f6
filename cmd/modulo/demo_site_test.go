package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"modulo/internal/local"
)

var dashboardAddress = regexp.MustCompile(`Dashboard: +(http://\S+/)`)

// TestDemoDashboard: the demo prints the address of its dashboard, which soon has something to show; Ctrl-C ends it.
func TestDemoDashboard(t *testing.T) {
	t.Parallel()
	dir, err := local.TempDir("modulo-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := shell{t: t, env: map[string]string{"TMPDIR": dir}}
	demo, told := s.process("demo", "--rows", "500")
	var page string
	await(t, "failed invoices on the dashboard", func() bool {
		found := dashboardAddress.FindStringSubmatch(told.String())
		if found == nil {
			return false
		}
		answer, err := http.Get(found[1])
		if err != nil {
			return false
		}
		defer func() { _ = answer.Body.Close() }()
		text, _ := io.ReadAll(answer.Body)
		page = string(text)
		return strings.Contains(page, "rows of invoices failed and wait for a person.")
	})
	if err := demo.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, demo, told); code != 0 {
		t.Errorf("exit code %d\n%s\n%s", code, told.String(), page)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 || !strings.HasSuffix(told.String(), "are removed\n") {
		t.Errorf("left behind: %v, %v\n%s", left, err, told.String())
	}
}
