package api_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// document is openapi.yaml, as far as tests look at it.
type document struct {
	Paths      map[string]map[string]any `yaml:"paths"`
	Components map[string]map[string]any `yaml:"components"`
}

func readDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := new(document)
	if err := yaml.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// resolve follows $ref.
func (d *document) resolve(node map[string]any) map[string]any {
	for {
		ref, is := node["$ref"].(string)
		if !is {
			return node
		}
		parts := strings.Split(ref, "/") // #/components/kind/name
		found, exists := d.Components[parts[2]][parts[3]].(map[string]any)
		if !exists {
			return map[string]any{"type": "missing: " + ref}
		}
		node = found
	}
}

// response is the schema that an operation gives for a status.
func (d *document) response(method, path string, status int) (map[string]any, error) {
	operation, ok := d.Paths[path][strings.ToLower(method)].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s %s is not described", method, path)
	}
	responses := operation["responses"].(map[string]any)
	found, ok := responses[fmt.Sprint(status)].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s %s: %d is not described", method, path, status)
	}
	for _, media := range d.resolve(found)["content"].(map[string]any) {
		return media.(map[string]any)["schema"].(map[string]any), nil
	}
	return nil, fmt.Errorf("%s %s: %d has no schema", method, path, status)
}

// check holds a value against a schema: those of its words that openapi.yaml uses. It returns what is wrong.
func (d *document) check(where string, schema map[string]any, value any) []string {
	schema = d.resolve(schema)
	var wrong []string
	if all, ok := schema["allOf"].([]any); ok {
		for _, part := range all {
			wrong = append(wrong, d.check(where, part.(map[string]any), value)...)
		}
		return wrong
	}
	if choices, ok := schema["anyOf"].([]any); ok {
		for _, part := range choices {
			if len(d.check(where, part.(map[string]any), value)) == 0 {
				return nil
			}
		}
		return []string{fmt.Sprintf("%s: %v is none of the choices", where, value)}
	}
	if kind := kindOf(value); !allows(schema["type"], kind) {
		return []string{fmt.Sprintf("%s: %v is %s, want %v", where, value, kind, schema["type"])}
	}
	if choices, ok := schema["enum"].([]any); ok && !slices.Contains(choices, value) {
		wrong = append(wrong, fmt.Sprintf("%s: %v is not one of %v", where, value, choices))
	}
	if text, ok := value.(string); ok && schema["format"] == "date-time" {
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", where, err))
		}
	}
	if list, ok := value.([]any); ok {
		for i, item := range list {
			wrong = append(wrong, d.check(fmt.Sprintf("%s[%d]", where, i), schema["items"].(map[string]any), item)...)
		}
	}
	if object, ok := value.(map[string]any); ok {
		wrong = append(wrong, d.checkObject(where, schema, object)...)
	}
	return wrong
}

func (d *document) checkObject(where string, schema, object map[string]any) []string {
	var wrong []string
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := object[name.(string)]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s.%s is missing", where, name))
		}
	}
	for name, value := range object {
		property, ok := properties[name].(map[string]any)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s.%s is not described", where, name))
			continue
		}
		wrong = append(wrong, d.check(where+"."+name, property, value)...)
	}
	return wrong
}

func kindOf(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	}
	return "object"
}

// allows says whether a schema's type, one or a list, takes a kind; a number may be whole.
func allows(types any, kind string) bool {
	list, isList := types.([]any)
	if !isList {
		list = []any{types}
	}
	return slices.Contains(list, any(kind)) || kind == "integer" && slices.Contains(list, any("number"))
}

// The checker itself sees what is wrong.
func TestChecker(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	for body, wrong := range map[string]int{
		`{"count": 1}`:         0,
		`{"count": 1.5}`:       1,
		`{"count": "1"}`:       1,
		`{}`:                   1,
		`{"count": 1, "x": 1}`: 1,
	} {
		var value any
		if err := json.Unmarshal([]byte(body), &value); err != nil {
			t.Fatal(err)
		}
		if got := d.check("body", map[string]any{"$ref": "#/components/schemas/Count"}, value); len(got) != wrong {
			t.Errorf("%s: %q", body, got)
		}
	}
}
