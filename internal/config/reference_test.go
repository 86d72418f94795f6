package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// reference is docs/configuration.md.
func reference(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// keys walks a struct and calls visit with each key of the file, as in "broker.tls.ca_file", and its value.
func keys(v reflect.Value, prefix string, visit func(key string, value reflect.Value)) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		field := v.Field(i)
		for field.Kind() == reflect.Pointer && !field.IsNil() {
			field = field.Elem()
		}
		_, decodes := reflect.New(field.Type()).Interface().(yaml.Unmarshaler)
		switch {
		case name == "" || name == "-":
		case field.Kind() == reflect.Struct && !decodes:
			keys(field, prefix+name+".", visit)
		default:
			visit(prefix+name, field)
		}
	}
}

// inFile writes a default as it could stand in the file; empty: there is none.
func inFile(v reflect.Value) string {
	if !v.IsValid() || v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	switch value := v.Interface().(type) {
	case Duration:
		return time.Duration(value).String()
	case backoffRange:
		return value.min.String() + ".." + value.max.String()
	case payload:
		return "row"
	}
	return fmt.Sprint(v.Interface())
}

var (
	row        = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| (.*?) \\| .* \\|$")
	zeroUnits  = regexp.MustCompile(`m0s\b|h0m\b`)
	yamlBlocks = regexp.MustCompile("(?s)```yaml\n(.*?)```")
)

// TestReference: docs/configuration.md names every key, no other one, and its true default.
func TestReference(t *testing.T) {
	t.Parallel()
	c := defaults()
	c.HTTP.Listen = new(DefaultListen)
	job := rawJob{}
	job.Source.ID = "id"
	job.generalDefaults("NAME")
	want := map[string]string{}
	note := func(key string, value reflect.Value) { want[key] = inFile(value) }
	keys(reflect.ValueOf(*c), "", note)
	delete(want, "jobs")
	keys(reflect.ValueOf(job), "", note)
	want["source.id"] = ""

	text := reference(t)
	text = text[strings.Index(text, "## Every key"):]
	for _, found := range row.FindAllStringSubmatch(text, -1) {
		key, told := found[1], found[2]
		is, known := want[key]
		if !known {
			t.Errorf("%s: there is no such key, or it is told twice", key)
		}
		delete(want, key)
		literal := strings.Trim(told, "`")
		if strings.Count(told, "`") != 2 || literal != told[1:len(told)-1] {
			literal = "" // in words
		}
		if tidy := zeroUnits.ReplaceAllStringFunc(is, func(s string) string { return s[:1] }); literal != tidy && key != "database.listen_url" {
			t.Errorf("%s: the default is told as %s, and is %q", key, told, tidy)
		}
	}
	for key := range want {
		t.Errorf("%s is not told", key)
	}
}

// TestReferenceExamples: the example can be read, and what is told of the job outbox is what it does without being told.
func TestReferenceExamples(t *testing.T) {
	t.Parallel()
	blocks := yamlBlocks.FindAllStringSubmatch(reference(t), -1)
	example := regexp.MustCompile(`(?m)^.*(ca_file|password_file).*\n`).ReplaceAllString(blocks[0][1], "") // files that are not there
	example = strings.ReplaceAll(strings.ReplaceAll(example, "repeats: none", "repeats: possible"), "ordered: false", "ordered: true")
	mustLoad(t, example, map[string]string{"DATABASE_URL": "postgres://a", "DIRECT_URL": "postgres://b"}, Overrides{})
	told := "jobs:\n  " + strings.ReplaceAll(blocks[len(blocks)-1][1], "\n", "\n  ")
	if got, want := mustLoad(t, told, nil, Overrides{}).JobList(), mustLoad(t, "", nil, Overrides{}).JobList(); !reflect.DeepEqual(got, want) {
		t.Errorf("told %+v, is %+v", got[0], want[0])
	}
}
