package jobs

import (
	"fmt"
	"strings"
)

// template is text with column values in it: literal[0] field[0] literal[1] field[1] ... literal[n].
type template struct {
	literals []string
	columns  []string
}

// parseTemplate reads "text {column} text"; "{{" and "}}" stand for literal braces. An error does not quote the text, which
// may be a secret.
func parseTemplate(text string) (template, error) {
	var t template
	var literal strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case (c == '{' || c == '}') && i+1 < len(text) && text[i+1] == c:
			literal.WriteByte(c)
			i++
		case c == '{':
			end := strings.IndexAny(text[i+1:], "{}")
			if end < 1 || text[i+1+end] != '}' {
				return template{}, fmt.Errorf("a column name and '}' must follow the '{' at position %d (write '{{' for a brace)", i+1)
			}
			t.literals = append(t.literals, literal.String())
			t.columns = append(t.columns, text[i+1:i+1+end])
			literal.Reset()
			i += 1 + end
		case c == '}':
			return template{}, fmt.Errorf("'}' at position %d closes nothing (write '}}' for a brace)", i+1)
		default:
			literal.WriteByte(c)
		}
	}
	t.literals = append(t.literals, literal.String())
	return t, nil
}

// constant returns the text of a template without columns.
func (t template) constant() (string, bool) {
	return t.literals[0], len(t.columns) == 0
}

// boundTemplate is a template whose columns are indexes into Row.Fields.
type boundTemplate struct {
	template
	fields []int
}

// bind resolves the columns against the fields of a row.
func (t template) bind(fields []string) boundTemplate {
	b := boundTemplate{template: t, fields: make([]int, len(t.columns))}
	for i, column := range t.columns {
		for j, field := range fields {
			if field == column {
				b.fields[i] = j
			}
		}
	}
	return b
}

// single says that the value is one column and nothing else, so that null can mean "leave it out".
func (t boundTemplate) single() bool {
	return len(t.fields) == 1 && t.literals[0] == "" && t.literals[1] == ""
}

// expand returns the value for a row, or the name of the first column that is null. The value is appended to arena
// unless it is a column as it stands.
func (t boundTemplate) expand(arena []byte, fields [][]byte) (grown, value []byte, null string) {
	if t.single() {
		if fields[t.fields[0]] == nil {
			return arena, nil, t.columns[0]
		}
		return arena, fields[t.fields[0]], ""
	}
	start := len(arena)
	for i, f := range t.fields {
		if fields[f] == nil {
			return arena[:start], nil, t.columns[i]
		}
		arena = append(arena, t.literals[i]...)
		arena = append(arena, fields[f]...)
	}
	arena = append(arena, t.literals[len(t.fields)]...)
	return arena, arena[start:len(arena):len(arena)], ""
}
