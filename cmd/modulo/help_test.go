package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp keeps the whole command line in one golden, so that a change of the contract is seen in review.
func TestHelp(t *testing.T) {
	t.Parallel()
	s := shell{t: t}
	var text strings.Builder
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		text.WriteString("$ modulo " + strings.Join(append(path, "--help"), " ") + "\n" + s.ok(append(path, "--help")...) + "\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "completion" { // that one is cobra's
				walk(sub)
			}
		}
	}
	walk((&app{}).rootCommand())
	golden(t, "cli/help.txt", text.String())
	for _, group := range []string{"", "rows", "migrate"} {
		if args := strings.Fields(group); s.ok(args...) != s.ok(append(args, "--help")...) {
			t.Errorf("modulo %s alone does not print its help", group)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	s := shell{t: t}
	if told := s.ok("version"); !regexp.MustCompile(`^modulo \S+ \(go1\.\S+ \w+/\w+\)\n$`).MatchString(told) {
		t.Errorf("version: %q", told)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	s := shell{t: t}
	for _, name := range []string{"bash", "zsh", "fish"} {
		if script := s.ok("completion", name); !strings.Contains(script, "modulo") {
			t.Errorf("%s: %q", name, script)
		}
	}
	if told := s.ok("__complete", "rows", "r"); !strings.HasPrefix(told, "retry\t") {
		t.Errorf("completion of rows r: %q", told)
	}
}
