package dashboard

import (
	"net/url"
	"strings"
	"time"
)

// rowFlags are the flags of the command line that pick failed rows, by the field of an address; the others have none.
var rowFlags = map[string]string{
	"class": "--class", "state": "--state", "since": "--since", "text": "--contains", "key": "--key", "pattern": "--pattern", "id": "--id",
}

// rowsCommand is the command about the same rows, for a POSIX shell; empty where no flags pick them: a command that means
// more rows than the page does would be a trap.
func rowsCommand(do, job string, query url.Values) string {
	words := []string{"modulo rows", do, shellQuoted(job)}
	for _, field := range filterFields {
		value := query.Get(field)
		if value == "" {
			continue
		}
		if field == "id" {
			value = strings.Join(query[field], ",")
		}
		if _, err := time.ParseDuration(value); rowFlags[field] == "" || field == "since" && err != nil {
			return "" // the command line knows no absolute times
		}
		words = append(words, rowFlags[field]+"="+shellQuoted(value))
	}
	return strings.Join(words, " ")
}

// shellQuoted is a word of a POSIX shell.
func shellQuoted(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:,@%+", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
