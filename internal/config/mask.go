package config

import (
	"net/url"
	"regexp"
	"strings"
)

// masked stands for a secret.
const masked = "********"

var passwordInText = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)`)

// nextBroker is where the next URL of a list begins: a comma alone may be of a password.
var nextBroker = regexp.MustCompile(`,stomp[a-z+]*://`)

// secretName is a part of the name of a header that holds a secret, and secretValue how one begins that is a login.
var (
	secretName  = regexp.MustCompile(`(?i)passw|pwd|secret|token|auth($|[^o]|ori)|credential|cookie|session|jwt|signature|(api|access|private|shared)[-_]?key`)
	secretValue = regexp.MustCompile(`(?i)^\s*(bearer|basic|digest|negotiate|api[-_]?key|token)\s`)
	fromColumn  = regexp.MustCompile(`^\{[^{}]*\}$`)
)

// mask leaves of the value of a setting what is no secret. All that shows settings goes through it.
func mask(key, value string) string {
	name := key[strings.LastIndex(key, ".")+1:]
	switch {
	case value == "":
		return ""
	case strings.HasSuffix(key, ".message.headers."+name):
		return maskHeader(name, value)
	case name == "password":
		return masked
	case name == "url", name == "listen_url":
		var parts []string
		start := 0
		for _, next := range append(nextBroker.FindAllStringIndex(value, -1), []int{len(value)}) {
			parts = append(parts, maskConnection(value[start:next[0]]))
			start = next[0] + len(",")
		}
		return strings.Join(parts, ",")
	}
	return value
}

// maskHeader leaves of a header of messages what is no secret: a column is none.
func maskHeader(name, value string) string {
	switch {
	case fromColumn.MatchString(value):
		return value
	case secretName.MatchString(name), secretValue.MatchString(value):
		return masked
	}
	return maskURL(value, "?#", func(string) bool { return true })
}

// maskConnection leaves of a connection string what is no secret.
func maskConnection(text string) string {
	return maskURL(text, "?", func(name string) bool { return strings.Contains(strings.ToLower(name), "password") })
}

// maskURL masks the password of a URL, and the values of those names in its query that are secret; a column is not. The query
// begins at one of these marks. What is no URL is shown without passwords.
func maskURL(text, marks string, secret func(name string) bool) string {
	if !strings.Contains(text, "://") {
		return passwordInText.ReplaceAllString(text, "${1}"+masked)
	}
	scheme, rest, _ := strings.Cut(text, "://")
	// By hand: a URL with several hosts is none for net/url, and a password may hold anything.
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		if strings.ContainsAny(rest[:at], marks) {
			return scheme + "://" + masked // the @ may be of a password in the query
		}
		user, _, has := strings.Cut(rest[:at], ":")
		switch {
		case has:
			user += ":" + masked
		case secret(user) && !fromColumn.MatchString(user): // a login of one part
			user = masked
		}
		rest = user + rest[at:]
	}
	query := strings.IndexAny(rest, marks) + 1
	if query == 0 {
		return scheme + "://" + rest
	}
	return scheme + "://" + rest[:query] + maskQuery(rest[query:], secret)
}

func maskQuery(query string, secret func(name string) bool) string {
	if _, err := url.ParseQuery(query); err != nil {
		return masked
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, named := strings.Cut(part, "=")
		plain, _ := url.QueryUnescape(name) // ParseQuery has seen that it works
		switch {
		case !secret(plain), fromColumn.MatchString(value), part == "":
		case named:
			parts[i] = name + "=" + masked
		case !fromColumn.MatchString(part):
			parts[i] = masked
		}
	}
	return strings.Join(parts, "&")
}
