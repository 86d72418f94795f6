package jobs

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTemplateErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{":       "position 1",
		"a{":      "position 2",
		"{}":      "position 1",
		"x{}y":    "position 2",
		"{a":      "position 1",
		"{a{b}":   "position 1",
		"}":       "'}' at position 1",
		"ab}":     "'}' at position 3",
		"{a}}":    "'}' at position 4",
		"{{a}":    "'}' at position 4",
		"ä{":      "position 3", // bytes, as editors of single lines show them
		"{a}{{}b": "'}' at position 6",
	} {
		_, err := parseTemplate(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		}
	}
}

func TestTemplateExpands(t *testing.T) {
	t.Parallel()
	fields := []string{"a", "b", "odd name"}
	row := [][]byte{[]byte("1"), []byte("{b}"), nil}
	for text, want := range map[string]string{
		"":               "",
		"text":           "text",
		"{{}}":           "{}",
		"{{{a}}}":        "{1}",
		"{a}":            "1",
		"{a}{a}":         "11",
		"x{a}-{b}y":      "x1-{b}y",
		"{b}{{b}}":       "{b}{b}",
		"a{odd name}":    "null odd name",
		"{a}{odd name}b": "null odd name",
		"{odd name}":     "null odd name",
	} {
		parsed, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		arena, value, null := parsed.bind(fields).expand([]byte("kept"), row)
		got := string(value)
		if null != "" {
			got = "null " + null
		}
		if got != want || !bytes.HasPrefix(arena, []byte("kept")) {
			t.Errorf("%q: %q, want %q; arena %q", text, got, want, arena)
		}
	}
}

// piece is a literal or a column of a template that a test puts together.
type piece struct {
	text   string
	column int // -1: literal
}

func (p piece) source(fields []string) string {
	if p.column >= 0 {
		return "{" + fields[p.column] + "}"
	}
	return strings.NewReplacer("{", "{{", "}", "}}").Replace(p.text)
}

// TestTemplateIsItsParts writes a template for any parts and expects the parts, one after the other, back.
func TestTemplateIsItsParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfNDistinct(rapid.StringMatching(`[^{}]{1,4}`), 1, 4, rapid.ID).Draw(t, "fields")
		row := make([][]byte, len(fields))
		for i := range row {
			row[i] = []byte(rapid.String().Draw(t, "value"))
		}
		text := ""
		var want []byte
		for range rapid.IntRange(0, 6).Draw(t, "pieces") {
			p := piece{text: rapid.StringMatching(`[a{}é]{0,3}`).Draw(t, "literal"), column: -1}
			if rapid.Bool().Draw(t, "is a column") {
				p.column = rapid.IntRange(0, len(fields)-1).Draw(t, "column")
				p.text = string(row[p.column])
			}
			// A brace before a column's or another literal's brace would pair with it.
			if source := p.source(fields); !pairs(text, source) {
				text, want = text+source, append(want, p.text...)
			}
		}
		parsed, err := parseTemplate(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		_, value, null := parsed.bind(fields).expand(nil, row)
		if null != "" || !bytes.Equal(value, want) {
			t.Fatalf("%q: %q, null %q, want %q", text, value, null, want)
		}
	})
}

// pairs says whether the ends of two parts have a brace each, so that together they would read differently.
func pairs(before, after string) bool {
	return before != "" && after != "" && strings.ContainsAny(before[len(before)-1:], "{}") && before[len(before)-1] == after[0]
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"", "{a}", "{{", "}}", "x{a}y{b}{{z}}", "{a", "a}", "{a{", "{}", "{{{a}}}", "\xff{a}"} {
		f.Add(seed, []byte("v"))
	}
	f.Fuzz(func(t *testing.T, text string, value []byte) {
		parsed, err := parseTemplate(text)
		if err != nil {
			return
		}
		if len(parsed.literals) != len(parsed.columns)+1 {
			t.Fatalf("%q: %d literals around %d columns", text, len(parsed.literals), len(parsed.columns))
		}
		// Written anew from its parts it must mean the same.
		var again, want strings.Builder
		for i, literal := range parsed.literals {
			again.WriteString(piece{text: literal, column: -1}.source(nil))
			want.WriteString(literal)
			if i < len(parsed.columns) {
				again.WriteString("{" + parsed.columns[i] + "}")
				want.Write(value)
			}
		}
		reparsed, err := parseTemplate(again.String())
		if err != nil {
			t.Fatalf("%q, written as %q: %v", text, again.String(), err)
		}
		row := make([][]byte, len(reparsed.columns))
		for i := range row {
			row[i] = append([]byte{}, value...)
		}
		for _, candidate := range []template{parsed, reparsed} {
			bound := boundTemplate{template: candidate, fields: make([]int, len(candidate.columns))}
			for i := range bound.fields {
				bound.fields[i] = i
			}
			if _, got, null := bound.expand(nil, row); null != "" || string(got) != want.String() {
				t.Fatalf("%q: %q, null %q, want %q", text, got, null, want.String())
			}
		}
	})
}
