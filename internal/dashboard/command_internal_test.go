package dashboard

import (
	"net/url"
	"os/exec"
	"testing"
)

// TestRowsCommand: the command means the rows of the page, or there is none.
func TestRowsCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		query url.Values
		want  string
	}{
		{nil, "modulo rows retry outbox"},
		{url.Values{"id": {"7", "9"}}, "modulo rows retry outbox --id=7,9"},
		{url.Values{"class": {"refused"}, "state": {"failed"}, "key": {"a b"}}, "modulo rows retry outbox --class=refused --state=failed --key='a b'"},
		{url.Values{"pattern": {"it's # $(bytes)"}, "text": {"it"}}, `modulo rows retry outbox --contains=it --pattern='it'\''s # $(bytes)'`},
		{url.Values{"since": {"1h"}}, "modulo rows retry outbox --since=1h"},
		{url.Values{"since": {"2026-01-02T15:04:05Z"}}, ""},
		{url.Values{"until": {"1h"}, "class": {"refused"}}, ""},
	} {
		if got := rowsCommand("retry", "outbox", c.query); got != c.want {
			t.Errorf("%v: %s, want %s", c.query, got, c.want)
		}
	}
}

// TestShellQuoted: a shell gives every text back as it was.
func TestShellQuoted(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", "a b", "it's", `"$HOME" \ *`, "two\nlines", "`id`;#", "täglich"} {
		got, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s "+shellQuoted(text)).Output()
		if err != nil || string(got) != text {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestLinesOfForms: a browser ends the lines of a form by CR LF; the reasons of rows do not.
func TestLinesOfForms(t *testing.T) {
	t.Parallel()
	f, err := filterOf("outbox", url.Values{"pattern": {"refused:\r\n# bytes"}})
	if err != nil || f.Pattern != "refused:\n# bytes" {
		t.Errorf("%q, %v", f.Pattern, err)
	}
}
