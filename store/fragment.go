package store

import (
	"errors"
	"fmt"
	"strings"
)

// checkFragment says why a piece of the operator's SQL cannot stand inside of a statement of ours. It must end what it
// begins: brackets, quotes and comments. A comment up to the end of the line is fine, since a new line follows.
// It guards against mistakes, as in "a) or (b": who writes the configuration may run any SQL anyway.
func checkFragment(sql string) error {
	if strings.TrimSpace(sql) == "" {
		return errors.New("is empty")
	}
	var open []byte
	for rest := sql; rest != ""; {
		token, err := nextToken(rest)
		if err != nil {
			return err
		}
		rest = rest[len(token):]
		switch c := token[0]; {
		case c == 0:
			return errors.New("has a NUL character")
		case c == ';':
			return errors.New(`has a ";": one expression is expected`)
		case c == '$' && len(token) > 1 && token[1] >= '0' && token[1] <= '9':
			return fmt.Errorf("has the parameter %s: there are none", token)
		case c == '(' || c == '[':
			open = append(open, c)
		case c == ')' || c == ']':
			if len(open) == 0 || open[len(open)-1] != map[byte]byte{')': '(', ']': '['}[c] {
				return fmt.Errorf("closes a %q that it did not open", c)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("does not close its %q", open[len(open)-1])
	}
	return nil
}

// nextToken returns the lexical unit of PostgreSQL's SQL that s begins with, as far as telling code from text needs it:
// a comment, a quoted text or name, a word, a parameter, or a single character.
func nextToken(s string) (string, error) {
	switch {
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexAny(s, "\r\n"); end >= 0 {
			return s[:end], nil
		}
		return s, nil
	case strings.HasPrefix(s, "/*"):
		return blockComment(s)
	case s[0] == '\'' || s[0] == '"':
		return quoted(s, 0, false)
	case len(s) > 1 && (s[0] == 'e' || s[0] == 'E') && s[1] == '\'':
		return quoted(s, 1, true)
	case s[0] == '$':
		return dollar(s)
	case wordStart(s[0]):
		end := 1
		for end < len(s) && (wordStart(s[end]) || digit(s[end]) || s[end] == '$') {
			end++
		}
		return s[:end], nil
	}
	return s[:1], nil
}

// blockComment reads a comment; comments nest.
func blockComment(s string) (string, error) {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return s[:i+1], nil
			}
		}
	}
	return "", errors.New("does not end its /* comment")
}

// quoted reads from the quote at s[at] to its end; a doubled quote stands for itself.
func quoted(s string, at int, backslashes bool) (string, error) {
	quote := s[at]
	for i := at + 1; i < len(s); i++ {
		switch {
		case backslashes && s[i] == '\\':
			i++
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return s[:i+1], nil
		}
	}
	return "", fmt.Errorf("does not end its %c", quote)
}

// dollar reads $1, $$text$$ or $tag$text$tag$.
func dollar(s string) (string, error) {
	end := 1
	if end < len(s) && digit(s[end]) {
		for end < len(s) && digit(s[end]) {
			end++
		}
		return s[:end], nil
	}
	for end < len(s) && (wordStart(s[end]) || digit(s[end])) {
		end++
	}
	if end == len(s) || s[end] != '$' {
		return s[:1], nil
	}
	tag := s[:end+1]
	length := strings.Index(s[len(tag):], tag)
	if length < 0 {
		return "", fmt.Errorf("does not end its %s", tag)
	}
	return s[:2*len(tag)+length], nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
