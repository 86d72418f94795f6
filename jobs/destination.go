package jobs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// DefaultDestinations is what a job may send to when it names nothing: queues with plain names. A topic must be named,
// because a topic without a durable subscriber confirms a message and keeps nothing.
const DefaultDestinations = "/queue/*"

// plainName is a name that has no meaning to a broker besides itself: no wildcards, lists, options or paths.
const plainName = `[A-Za-z0-9._-]{1,200}`

// TokenPrefix begins the names of the queues that hold the workers' tokens, unless an operator wants another one.
const TokenPrefix = "modulo.token."

// reservedNames begin names that a pattern never matches, besides MessageSpec.Reserved: the broker or Modulo itself
// gives them a meaning.
var reservedNames = []string{"activemq.", TokenPrefix}

// destinationPattern is an entry of MessageSpec.Allow: literal text with "*" for a plain name. Text without a "*" is
// compared as it is, so that an operator can allow any one destination.
type destinationPattern struct {
	literal string
	names   *regexp.Regexp // nil: literal
	except  []string       // beginnings of names, in small letters
}

func parseDestinationPattern(text string, except []string) (destinationPattern, error) {
	if text == "" || strings.ContainsAny(text, "\x00\r\n") {
		return destinationPattern{}, fmt.Errorf("allowed destination %q: must be text in one line", text)
	}
	if !strings.Contains(text, "*") {
		return destinationPattern{literal: text}, nil
	}
	names, err := regexp.Compile("^" + strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, plainName) + "$")
	if err != nil {
		return destinationPattern{}, fmt.Errorf("allowed destination %.250q: %w", text, err)
	}
	return destinationPattern{names: names, except: slices.Concat(reservedNames, except)}, nil
}

func (p destinationPattern) matches(destination string) bool {
	if p.names == nil {
		return destination == p.literal
	}
	return p.names.MatchString(destination) && !p.reserved(destination)
}

// reserved says whether a part of the destination begins with a reserved name, in capitals or not.
func (p destinationPattern) reserved(destination string) bool {
	for part := range strings.SplitSeq(strings.ToLower(destination), "/") {
		for _, name := range p.except {
			if strings.HasPrefix(part, name) {
				return true
			}
		}
	}
	return false
}
