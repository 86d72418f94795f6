package jobs

import (
	"strings"
	"testing"
)

func mustPattern(t testing.TB, text string) destinationPattern {
	t.Helper()
	pattern, err := parseDestinationPattern(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pattern
}

func TestDestinationPatterns(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 200)
	for _, c := range []struct {
		pattern, allowed, refused string // destinations, separated by blanks
	}{
		{"/queue/*",
			"/queue/a /queue/billing.invoice /queue/A-b_c.9 /queue/. /queue/.. /queue/" + long + " /queue/xActiveMQ.DLQ /queue/ActiveMQ",
			"/queue/ /queue /queue/" + long + "a /queue/a/b /queue//queue/a /queue/../topic/a /queue/a,/queue/b /queue/a,b " +
				"/queue/* /queue/> /queue/a.> /queue/a.* /queue/a?consumer.prefetchSize=1 /queue/a::b /queue/a%2Fb /queue/ä " +
				"/queue/a\n /queue/a\x00 \x00/queue/a /Queue/a /topic/a /temp-queue/a /dsub/a /exchange/a queue/a a ../ " +
				"/queue/ActiveMQ.DLQ /queue/ActiveMQ.Advisory.Connection /queue/activemq.x /queue/modulo.token.outbox.3 /queue/Modulo.Token.x"},
		{"/queue/*.invoice", "/queue/eu.invoice /queue/eu.invoice.invoice", "/queue/.invoice /queue/invoice /queue/eu.invoices /queue/ActiveMQ.invoice"},
		{"/queue/A*", "/queue/Ab", "/queue/A /queue/ActiveMQ.DLQ"},
		{"/queue/*/*", "/queue/a/b", "/queue/a /queue/a/b/c /queue//b /queue/a/ /queue/a/ActiveMQ.DLQ /queue/modulo.token.x/a"},
		{"/queue/*-*.*", "/queue/a-b.c /queue/a-b-c.d.e", "/queue/a.b-c /queue/-b.c /queue/a-b."},
		{"*", "a ActiveMQ", "/queue/a ActiveMQ.DLQ"},
		{"**", "ab", "a"},
		{"/topic/events.*", "/topic/events.a", "/topic/events. /topic/events /queue/events.a"},
		// Without a star an operator may name anything, and means just that.
		{"/topic/ActiveMQ.Advisory.x", "/topic/ActiveMQ.Advisory.x", "/topic/ActiveMQ.Advisory.y"},
		{"/queue/a,/queue/b", "/queue/a,/queue/b", "/queue/a /queue/b"},
		{"/queue/a?timeToLive=5", "/queue/a?timeToLive=5", "/queue/a"},
		{"/queue/(a|b)+", "/queue/(a|b)+", "/queue/a"},
		{"/queue/.+*", "/queue/.+a", "/queue/aaa"},
	} {
		pattern := mustPattern(t, c.pattern)
		for destination := range strings.SplitSeq(c.allowed, " ") {
			if !pattern.matches(destination) {
				t.Errorf("%s does not allow %q", c.pattern, destination)
			}
		}
		for destination := range strings.SplitSeq(c.refused, " ") {
			if pattern.matches(destination) {
				t.Errorf("%s allows %q", c.pattern, destination)
			}
		}
		if pattern.matches("") {
			t.Errorf("%s allows the empty destination", c.pattern)
		}
	}
}

func TestDestinationPatternErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "/queue/a\n*", "/queue/\x00", "a\r", "\xff*"} {
		if _, err := parseDestinationPattern(text, nil); err == nil {
			t.Errorf("%q is taken for a pattern", text)
		}
	}
}

// TestDestinationPatternIsFast: a row picks the text that is matched, so that no text may take long.
func TestDestinationPatternIsFast(t *testing.T) {
	t.Parallel()
	pattern := mustPattern(t, "/queue/"+strings.Repeat("*.", 12)+"x")
	if pattern.matches("/queue/" + strings.Repeat("a.", 100) + "/.x") {
		t.Error("a star stands for more than a name")
	}
}

// matchedNames splits a destination at the literal parts in every possible way and returns the texts in the place of
// the stars where they are all plain names; nil if there is no such way.
func matchedNames(parts []string, text string) []string {
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return nil
	}
	if len(parts) == 1 {
		if rest == "" {
			return []string{}
		}
		return nil
	}
	for end := 1; end <= min(len(rest), 200); end++ {
		c := rest[end-1]
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", rune(c)) || c >= 0x80 {
			return nil
		}
		if names := matchedNames(parts[1:], rest[end:]); names != nil {
			return append([]string{rest[:end]}, names...)
		}
	}
	return nil
}

// FuzzDestinationPattern: whatever matches has plain names in the place of the stars and none that is reserved.
func FuzzDestinationPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"/queue/*", "/queue/a"}, {"/queue/*", "/queue/a,b"}, {"/queue/*.*", "/queue/a.b.c"}, {"*", ">"}, {"/queue/a", "/queue/a"},
		{"/queue/*/x", "/queue/activemq.a/x"}, {"\\Q*", "\\Qa"}, {"/queue/*", "/queue/a\n"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, destination string) {
		pattern, err := parseDestinationPattern(text, nil)
		parts := strings.Split(text, "*")
		if err != nil || len(parts) > 4 || len(destination) > 100 {
			return
		}
		matches := pattern.matches(destination)
		if len(parts) == 1 {
			if matches != (text == destination) {
				t.Fatalf("literal %q, %q: %v", text, destination, matches)
			}
			return
		}
		names := matchedNames(parts, destination)
		meant := names != nil && !strings.Contains("/"+strings.ToLower(destination), "/activemq.") &&
			!strings.Contains("/"+strings.ToLower(destination), "/modulo.token.")
		if matches != meant {
			t.Fatalf("%q, %q: %v, want %v (names %q)", text, destination, matches, meant, names)
		}
	})
}
