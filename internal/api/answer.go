package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
	"unicode/utf8"

	"modulo/internal/guard"
	"modulo/internal/operations"
	"modulo/store"
)

// maxBody is the size of the largest request body, in bytes.
const maxBody = 64 << 10

// accepted is an answer to what goes on after it.
type accepted struct{ body any }

// answers makes a handler: what the route returns is the body, its error a problem.
func (a *API) answers(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		console := a.console()
		if console == nil {
			w.Header().Set("Retry-After", "2")
			guard.Refuse(w, r, http.StatusServiceUnavailable, "the service is starting or stopping")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(to.limit, answerTime))
		defer cancel()
		if to.limit > 0 {
			lift(w, to.limit)
		}
		body, err := to.do(&request{r.WithContext(ctx), console, guard.VisitorOf(ctx), w})
		if err != nil {
			status, detail := problemOf(err)
			if status == http.StatusInternalServerError && r.Context().Err() == nil {
				a.log.Error().Err(err).Str("method", r.Method).Str("route", r.Pattern).Msg("api: request failed")
			}
			guard.Refuse(w, r, status, detail)
			return
		}
		status := http.StatusOK
		if a, goesOn := body.(accepted); goesOn {
			status, body = http.StatusAccepted, a.body
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // who is gone misses nothing
	}
}

// lift lets an answer take longer than the server would wait for it. Where that cannot be, the answer comes in time or not.
func lift(w http.ResponseWriter, limit time.Duration) {
	control, until := http.NewResponseController(w), time.Now().Add(limit+answerTime)
	_, _ = control.SetReadDeadline(until), control.SetWriteDeadline(until)
}

// requestError says what is wrong with a request.
type requestError struct {
	status int
	detail string
}

func (e *requestError) Error() string { return e.detail }

func bad(format string, args ...any) error {
	return &requestError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// problemOf is the status and the text of an error. What is not meant for people says nothing of its inside.
func problemOf(err error) (status int, detail string) {
	if wrong, ok := errors.AsType[*requestError](err); ok {
		return wrong.status, wrong.detail
	}
	if wrong, ok := errors.AsType[*operations.RangeError](err); ok {
		return http.StatusBadRequest, wrong.Error()
	}
	for _, missing := range []error{operations.ErrUnknownJob, store.ErrNoJob, store.ErrNoFailure, store.ErrNoEntry} {
		if errors.Is(err, missing) {
			return http.StatusNotFound, missing.Error()
		}
	}
	if wrong, ok := errors.AsType[*operations.UnconfiguredError](err); ok {
		return http.StatusNotFound, wrong.Error()
	}
	if no, ok := errors.AsType[store.Refusal](err); ok {
		return http.StatusConflict, no.Error()
	}
	switch {
	case errors.Is(err, operations.ErrExamining):
		return http.StatusConflict, err.Error()
	case errors.Is(err, operations.ErrBusy):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, "the database did not answer in time"
	case store.IsUnreachable(err):
		return http.StatusServiceUnavailable, "the database cannot be reached"
	}
	return http.StatusInternalServerError, "see the log of the instance"
}

// body reads the JSON of a request: one object, no unknown keys. An empty body is an empty object.
func body[T any](r *request) (into T, err error) {
	reader := http.MaxBytesReader(r.w, r.Body, maxBody)
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return into, &requestError{http.StatusUnsupportedMediaType, "want Content-Type: application/json"}
	}
	text, err := io.ReadAll(reader)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return into, &requestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("body: more than %d bytes", tooLarge.Limit)}
	}
	if err != nil {
		return into, bad("body: %v", err)
	}
	if err := checkTexts(text); err != nil {
		return into, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&into)
	if errors.Is(err, io.EOF) {
		return into, nil
	}
	if err == nil && !errors.Is(decoder.Decode(new(any)), io.EOF) {
		return into, bad("body: more than one object")
	}
	if err != nil {
		return into, bad("body: %v", err)
	}
	return into, nil
}

// checkTexts refuses texts that the database would not take. That a body is JSON is not its business.
func checkTexts(body []byte) error {
	if !utf8.Valid(body) {
		return bad("body: not UTF-8")
	}
	tokens := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := tokens.Token()
		if err != nil {
			return nil // at its end, or where decoding it tells what is wrong
		}
		if text, ok := token.(string); ok && !store.TakesText(text) {
			return bad("body: a text with NUL")
		}
	}
}
