package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"modulo/internal/operations"
	"modulo/store"
)

// defaultPage is the size of a page unless limit says otherwise.
const defaultPage = 100

// query reads the parameters of a request; done tells of everything that is wrong with them.
type query struct {
	values   url.Values
	problems []error
}

func queryOf(r *request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.problems = append(q.problems, fmt.Errorf("query: %w", err)) // a parameter that was dropped would pick more
	}
	return q
}

// text takes a parameter, so that done knows those that nobody asked for. One that is empty is no way to say "any": it may
// be a variable that was not set, and would pick everything.
func (q *query) text(name string) string {
	list := q.values[name]
	delete(q.values, name)
	switch {
	case len(list) > 1:
		q.wrong(name, "given more than once")
	case len(list) == 1 && list[0] == "":
		q.wrong(name, "empty")
	case len(list) == 1 && !store.TakesText(list[0]):
		q.wrong(name, "not a text in UTF-8 without NUL")
	}
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func (q *query) wrong(name, why string) {
	q.problems = append(q.problems, fmt.Errorf("%s: %s", name, why))
}

func (q *query) optional(name string) *int64 {
	text := q.text(name)
	if text == "" {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		q.wrong(name, "not a whole number")
	}
	return &n
}

// number is from 1 to high. Without a fallback it must be given.
func (q *query) number(name string, fallback, high int) int {
	n := q.optional(name)
	switch {
	case n == nil && fallback > 0:
		return fallback
	case n == nil:
		q.wrong(name, "missing")
		return 0
	case *n < 1 || *n > int64(high):
		q.wrong(name, fmt.Sprintf("not within 1 and %d", high))
	}
	return int(*n)
}

func (q *query) ids(name string) []int64 {
	text := q.text(name)
	if text == "" {
		return nil
	}
	var ids []int64
	for part := range strings.SplitSeq(text, ",") {
		id, err := strconv.ParseInt(part, 10, 64)
		if err != nil || len(ids) >= operations.MaxPage {
			q.wrong(name, fmt.Sprintf("want up to %d whole numbers, separated by commas", operations.MaxPage))
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}

func (q *query) time(name string) time.Time {
	text := q.text(name)
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		q.wrong(name, "want a time as in 2026-01-31T12:00:00Z")
	}
	return at
}

func (q *query) flag(name string) bool {
	switch q.text(name) {
	case "", "false":
		return false
	case "true":
		return true
	}
	q.wrong(name, "want true or false")
	return false
}

func oneOf[T ~string](q *query, name string, known ...T) T {
	value := T(q.text(name))
	if value != "" && !slices.Contains(known, value) {
		q.wrong(name, fmt.Sprintf("want one of %v", known))
	}
	return value
}

// done tells what is wrong, parameters that nobody knows included: a filter with a slip would pick everything.
func (q *query) done() error {
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		q.wrong(name, "no such parameter")
	}
	if err := errors.Join(q.problems...); err != nil {
		return bad("%v", err)
	}
	return nil
}

func conflict(detail string) error { return &requestError{http.StatusConflict, detail} }

func forbidden(detail string) error { return &requestError{http.StatusForbidden, detail} }
