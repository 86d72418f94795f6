package dashboard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/rs/zerolog"
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

// TestEmptyID: an id that is empty does not mean all rows.
func TestEmptyID(t *testing.T) {
	t.Parallel()
	if f, err := filterOf("outbox", queryOf(url.Values{"id": {""}})); err == nil {
		t.Errorf("taken for %+v", f)
	}
}

// TestGone: only what is our fault is told to the log, not a reader who has left while others read.
func TestGone(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	d, err := New(Config{Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for ctx, told := range map[context.Context]bool{t.Context(): true, gone: false} {
		log.Reset()
		d.problem(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), context.Canceled)
		if (log.Len() > 0) != told {
			t.Errorf("gone %v, told %q", !told, log.String())
		}
	}
}
