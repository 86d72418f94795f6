package dashboard

import (
	"net/http"
	"strconv"

	"modulo/internal/operations"
	"modulo/store"
)

// told are the notices that a page shows after an action, by what the address says.
var told = map[string]string{
	"paused":    "Paused: no worker begins a new batch. Batches in flight are finished.",
	"resumed":   "Resumed: the workers go on.",
	"triggered": "Triggered: every worker begins a pass.",
	"aborted":   "Taken back: the number of workers stays as it is.",
	"same":      "So many workers are in force already.",
}

// after is where a change of a job leads: to the page that it came from.
func (d *Dashboard) after(r *http.Request, word string) string {
	at := d.render.path("/jobs/", r.PathValue("job"))
	if r.URL.Query().Get("from") == "overview" {
		at = d.render.path("/")
	}
	return at + "?told=" + word
}

func (d *Dashboard) pause(_ http.ResponseWriter, r *http.Request) (string, error) {
	return d.after(r, "paused"), d.Console.Pause(r.Context(), d.actor(r), r.PathValue("job"), true)
}

func (d *Dashboard) resume(_ http.ResponseWriter, r *http.Request) (string, error) {
	return d.after(r, "resumed"), d.Console.Pause(r.Context(), d.actor(r), r.PathValue("job"), false)
}

func (d *Dashboard) trigger(_ http.ResponseWriter, r *http.Request) (string, error) {
	return d.after(r, "triggered"), d.Console.Trigger(r.Context(), d.actor(r), r.PathValue("job"))
}

func (d *Dashboard) changeWorkers(_ http.ResponseWriter, r *http.Request) (string, error) {
	k, err := strconv.Atoi(r.PostFormValue("to"))
	if err != nil {
		return "", &formError{"The number of workers is not a number."}
	}
	generation, err := strconv.ParseInt(r.PostFormValue("generation"), 10, 64)
	if err != nil || generation < 1 { // 0 would mean any
		return "", &formError{"The generation that was looked at is missing."}
	}
	before, err := d.Console.SetWorkers(r.Context(), d.actor(r), store.WorkersChange{Job: r.PathValue("job"), Workers: k, IfGeneration: generation})
	if err != nil {
		return "", err
	}
	if before.Workers == k {
		return d.after(r, "same"), nil
	}
	return d.render.path("/jobs/", r.PathValue("job")) + "?changed=" + strconv.FormatInt(generation, 10), nil
}

func (d *Dashboard) abortChange(_ http.ResponseWriter, r *http.Request) (string, error) {
	to, err := strconv.Atoi(r.PostFormValue("to"))
	generation, wrong := strconv.ParseInt(r.PostFormValue("generation"), 10, 64)
	if err != nil || wrong != nil {
		return "", &formError{"The change that was looked at is missing."}
	}
	_, err = d.Console.AbortChange(r.Context(), d.actor(r), store.WorkersChange{Job: r.PathValue("job"), Workers: to, IfGeneration: generation})
	return d.after(r, "aborted"), err
}

// repair begins a repair and leads to its progress.
func (d *Dashboard) repair(_ http.ResponseWriter, r *http.Request) (string, error) {
	job := r.PathValue("job")
	verb, err := verbOf(r.PathValue("repair"))
	if err != nil {
		return "", err
	}
	filter, err := filterOf(job, r.PostForm)
	if err != nil {
		return "", err
	}
	expect, err := strconv.Atoi(r.PostFormValue("expect"))
	if err != nil {
		return "", &formError{"The number of rows that was seen is missing."}
	}
	if verb.danger && r.PostFormValue("sure") == "" {
		return "", &formError{"Discarded rows are never sent: this has to be confirmed."}
	}
	began, err := d.Console.StartRepair(r.Context(), d.actor(r), operations.RepairRequest{Repair: verb.repair, Filter: filter, Expect: &expect})
	if err != nil {
		return "", err
	}
	return d.render.path("/jobs/", job, "/operations/", strconv.FormatInt(began.Entry, 10)) + "?of=" + strconv.Itoa(began.Matched), nil
}
