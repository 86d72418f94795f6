package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"modulo/internal/operations"
	"modulo/store"
)

var (
	errNotFound = errors.New("there is no such page")
	errReadOnly = errors.New("this dashboard is read-only")
	errClosed   = errors.New("the service is not open")
)

// formError says what is wrong with what a form, or an address, says.
type formError struct{ text string }

func (e *formError) Error() string { return e.text }

// problemPage says why a request was not answered as asked, and where to go on.
type problemPage struct {
	mark
	Text  string
	Links []link
}

// problem answers with a page about an error.
func (d *Dashboard) problem(w http.ResponseWriter, r *http.Request, err error) {
	code, title, text := explain(err)
	if code == http.StatusInternalServerError && r.Context().Err() == nil { // who has left breaks nothing
		d.log(err, "dashboard: a request failed")
	}
	page := problemPage{mark: markOf(warn, title), Text: text, Links: []link{{Name: "Overview", Path: d.render.path("/")}}}
	if code >= http.StatusInternalServerError {
		page.mark = markOf(bad, title)
	}
	if job := r.PathValue("job"); job != "" && code != http.StatusNotFound {
		at := d.render.path("/jobs/", job)
		page.Links = append([]link{{Name: "Look at " + job + " again", Path: at}, {Name: "Its failed rows", Path: at + "/failed"}}, page.Links...)
	}
	f := frame{Title: title, Page: page}
	d.surround(&f, r)
	d.write(w, code, "problem.html", f)
}

// explain says what an error means to the person who asked.
func explain(err error) (code int, title, text string) {
	form, isForm := errors.AsType[*formError](err)
	unconfigured, isUnconfigured := errors.AsType[*operations.UnconfiguredError](err)
	_, isRange := errors.AsType[*operations.RangeError](err)
	changing, isChanging := errors.AsType[*store.ChangingError](err)
	generation, isGeneration := errors.AsType[*store.GenerationError](err)
	counted, isCounted := errors.AsType[*store.CountError](err)
	repairing, isRepairing := errors.AsType[*store.RepairingError](err)
	switch {
	case errors.Is(err, errClosed):
		return http.StatusServiceUnavailable, "This instance is starting, or stopping", "It waits for the database and checks its jobs, or it lets its workers go. Reload in a moment."
	case errors.Is(err, errReadOnly):
		return http.StatusForbidden, "Nothing was changed: read-only", "This dashboard is read-only for you. Nothing was changed."
	case isForm:
		return http.StatusBadRequest, "That cannot be done", form.Error()
	case isRange:
		return http.StatusBadRequest, "That cannot be done", err.Error()
	case errors.Is(err, errNotFound), errors.Is(err, operations.ErrUnknownJob), errors.Is(err, store.ErrNoJob), errors.Is(err, store.ErrNoEntry):
		return http.StatusNotFound, "There is nothing here", "There is no such page, or the job has never been run."
	case isUnconfigured:
		return http.StatusNotFound, "This job is not configured here", "The table of " + unconfigured.Job + " is not known to this instance: ask one that runs the job."
	case errors.Is(err, store.ErrNoFailure):
		return http.StatusNotFound, "This row has no failure record", "It neither failed nor is it pending: it has been delivered, was discarded, or never existed."
	case isChanging:
		return http.StatusConflict, "Somebody else is changing the number of workers", changing.Error() + ". Nothing was changed by you."
	case isGeneration:
		return http.StatusConflict, "Somebody else has changed the number of workers", generation.Error() + ". Nothing was changed by you: look again."
	case isCounted:
		return http.StatusConflict, "The number of rows has changed", fmt.Sprintf("You saw %s, now %s. Nothing was done: look again and decide anew.",
			plural(counted.Want, "row", "rows"), verb(counted.Have, "1 row matches", count(counted.Have)+" rows match"))
	case isRepairing:
		return http.StatusConflict, "Somebody else is repairing rows of this job", repairing.Error() + ". Nothing was done by you."
	case errors.Is(err, operations.ErrExamining):
		return http.StatusConflict, "Somebody else runs the checks", err.Error()
	case errors.Is(err, operations.ErrBusy):
		return http.StatusServiceUnavailable, "Too much at a time", err.Error()
	case store.IsUnreachable(err), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "The database does not answer", "Nothing could be read or changed. Workers wait, and go on by themselves once it is back."
	}
	return http.StatusInternalServerError, "That did not work", "The log of this instance says why."
}
