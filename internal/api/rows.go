package api

import (
	"strconv"
	"time"

	"modulo/internal/operations"
	"modulo/jobs"
	"modulo/store"
)

// filterOf reads the query parameters that pick failed rows.
func filterOf(r *request, q *query) store.FailureFilter {
	return store.FailureFilter{
		Job: r.PathValue("job"), IDs: q.ids("id"), Class: oneOf(q, "class", jobs.Classes()...),
		State: oneOf(q, "state", states...), Key: q.text("key"), Pattern: q.text("pattern"), Contains: q.text("contains"),
		Since: q.time("since"), Until: q.time("until"),
	}
}

var states = []store.FailureState{store.StateFailed, store.StateRetrying, store.StateDiscarded}

func failures(r *request) (any, error) {
	q := queryOf(r)
	filter := filterOf(r, q)
	filter.Limit, filter.After = q.number("limit", defaultPage, operations.MaxPage), q.optional("after")
	if err := q.done(); err != nil {
		return nil, err
	}
	return r.console.Failures(r.Context(), filter)
}

func countFailures(r *request) (any, error) {
	q := queryOf(r)
	filter := filterOf(r, q)
	if err := q.done(); err != nil {
		return nil, err
	}
	n, err := r.console.CountRepair(r.Context(), filter)
	return struct {
		Count int `json:"count"`
	}{n}, err
}

func groupFailures(r *request) (any, error) {
	q := queryOf(r)
	filter := filterOf(r, q)
	if err := q.done(); err != nil {
		return nil, err
	}
	return r.console.Groups(r.Context(), filter)
}

// repairBody says which rows are meant. Without a filter all failed rows of the job are.
type repairBody struct {
	IDs         []int64            `json:"ids"`
	Class       jobs.Class         `json:"class"`
	State       store.FailureState `json:"state"`
	Key         string             `json:"key"`
	Pattern     string             `json:"pattern"`
	Contains    string             `json:"contains"`
	Since       time.Time          `json:"since"`
	Until       time.Time          `json:"until"`
	ExpectCount *int               `json:"expect_count"`
	Reason      string             `json:"reason"`
}

func row(r *request) (any, error) {
	id, err := strconv.ParseInt(r.PathValue("row"), 10, 64)
	if err != nil {
		return nil, bad("row: not a number")
	}
	q := queryOf(r)
	payload := q.flag("payload")
	if err := q.done(); err != nil {
		return nil, err
	}
	if payload && !r.visitor.Payloads {
		return nil, forbidden("payloads are hidden: see http.payloads")
	}
	return r.console.Row(r.Context(), r.PathValue("job"), id, payload)
}

func audit(r *request) (any, error) {
	q := queryOf(r)
	filter := store.AuditFilter{Job: q.text("job"), Limit: q.number("limit", defaultPage, operations.MaxPage)}
	if before := q.optional("before"); before != nil {
		filter.Before = *before
	}
	if err := q.done(); err != nil {
		return nil, err
	}
	return r.console.Audit(r.Context(), filter)
}

func auditEntry(r *request) (any, error) {
	id, err := strconv.ParseInt(r.PathValue("entry"), 10, 64)
	if err != nil {
		return nil, bad("entry: not a number")
	}
	return r.console.AuditEntry(r.Context(), id)
}
