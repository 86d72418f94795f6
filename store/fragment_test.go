package store

import (
	"strings"
	"testing"
)

func TestCheckFragment(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"sent_at is null",
		"status = 'it''s ;) --' and sent_at is null -- ) ; the rest",
		"a = E'\\'; (' and b = $$ ; ( $$ and c = $x$ ) $$ $x$",
		`"odd ) ; name" is null /* ( ; /* nested ) */ */`,
		"id in (select id from other where x[1] = any(array[1,2]))",
		"a$1 = 1 and é = 2 and x = '\\' and a->>'$1' = ''",
		"payload ? 'k' and a != 1\n-- last",
	} {
		if err := checkFragment(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"  \n":                       "empty",
		"a = 1) or (b = 2":           "did not open",
		"(a = 1":                     "does not close",
		"a = [1)":                    "did not open",
		"true; drop table x":         `";"`,
		"a = 'x":                     "does not end",
		`a = "x`:                     "does not end",
		"a = 1 /* x":                 "comment",
		"a = $$x$":                   "does not end",
		"a = $1":                     "parameter $1",
		"a = E'\\'":                  "does not end",
		"a = '\x00'":                 "", // the server refuses it
		"a \x00":                     "NUL",
		"a = 1 /* /* */":             "comment",
		"x = 'a' ) and ( 'b' = 'b' ": "did not open",
	} {
		err := checkFragment(bad)
		if want == "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", bad, err, want)
		}
	}
}

// Whatever is accepted can stand in brackets: what follows it is read as code at the same depth.
func FuzzCheckFragment(f *testing.F) {
	for _, seed := range []string{"a = 1", "a = 'x' -- )", "$$ ) $$ = $a$ ( $a$", "/* /* ) */ */ true", `"a""b" = E'\'' || '\'`, "$1", "a) or (b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if checkFragment(sql) != nil {
			return
		}
		wrapped := "(\n" + sql + "\n) and (t.id = 1)"
		if err := checkFragment(wrapped); err != nil {
			t.Fatalf("%q is accepted, %q is not: %v", sql, wrapped, err)
		}
		depth, rest := 0, wrapped
		for rest != "" {
			token, err := nextToken(rest)
			if err != nil || token == "" {
				t.Fatalf("%q: token %q, %v", rest, token, err)
			}
			rest = rest[len(token):]
			switch token {
			case "(":
				depth++
			case ")":
				depth--
			}
			if depth == 0 && rest != "" && rest != " and (t.id = 1)" && !strings.HasSuffix(" and (t.id = 1)", rest) {
				t.Fatalf("%q leaves its brackets before %q", sql, rest)
			}
		}
	})
}
