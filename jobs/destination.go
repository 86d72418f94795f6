package jobs

import (
	"fmt"
	"strings"
)

const (
	// DefaultDestinations is what a job may send to when it names nothing: queues with plain names. A topic must be
	// named, because a topic without a durable subscriber confirms a message and keeps nothing.
	DefaultDestinations = "/queue/*"

	maxDestinationName = 200
)

// reservedQueues are prefixes that a pattern never matches: names the broker or Modulo itself gives a meaning.
var reservedQueues = []string{"ActiveMQ.", "modulo.token."}

// destinationPattern is an entry of MessageSpec.Allow: literal text with "*" for a plain name. Text without a "*" is
// compared as it is, so that an operator can allow any one destination.
type destinationPattern struct {
	parts []string // the literal text around each "*"
}

func parseDestinationPattern(text string) (destinationPattern, error) {
	if text == "" || strings.ContainsAny(text, "\x00\r\n") {
		return destinationPattern{}, fmt.Errorf("allowed destination %q: must be text in one line", text)
	}
	return destinationPattern{parts: strings.Split(text, "*")}, nil
}

func (p destinationPattern) matches(destination string) bool {
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if len(p.parts) == 1 {
		return destination == first
	}
	rest, ok := strings.CutPrefix(destination, first)
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, last)
	if !ok {
		return false
	}
	for _, reserved := range reservedQueues {
		if strings.HasPrefix(rest, reserved) && strings.HasSuffix(first, "/") {
			return false
		}
	}
	return matchNames(rest, p.parts[1:len(p.parts)-1])
}

// matchNames says whether text is plain names with the given literals between them, in order.
func matchNames(text string, between []string) bool {
	if len(between) == 0 {
		return plainName(text)
	}
	for i := range text {
		if rest, ok := strings.CutPrefix(text[i:], between[0]); ok && plainName(text[:i]) && matchNames(rest, between[1:]) {
			return true
		}
	}
	return false
}

// plainName says whether a name has no meaning to a broker besides itself: no wildcards, lists, options or paths.
func plainName(name string) bool {
	if len(name) == 0 || len(name) > maxDestinationName {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
