package dashboard

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"modulo/internal/operations"
	"modulo/store"
)

// repairVerb is what can be done about failed rows, in words.
type repairVerb struct {
	repair       store.Repair
	name, effect string
	danger       bool
}

// verbOf is the one that an address names.
func verbOf(name string) (repairVerb, error) {
	switch store.Repair(name) {
	case store.RepairRetry:
		return repairVerb{store.RepairRetry, "Retry", "They are due at once, with all their attempts before them. Rows that were delivered are only marked, never sent again.", false}, nil
	case store.RepairDiscard:
		return repairVerb{store.RepairDiscard, "Discard", "They are marked done without being sent: nobody will ever receive them. This cannot be taken back.", true}, nil
	}
	return repairVerb{}, errNotFound
}

// repairPage asks once more, with the count.
type repairPage struct {
	rights
	Job, Verb, Effect string
	Danger            bool
	Matching          int
	Which             string
	Counted           template.HTML
	Groups            []operations.Group
	Others            int
	Action, Back      string
	Fields            []choice
}

// maxRepairGroups is how many causes the question lists.
const maxRepairGroups = 8

func (d *Dashboard) readRepair(r *http.Request) (frame, error) {
	job, query := r.PathValue("job"), r.URL.Query()
	name := r.PathValue("repair")
	if name == "chosen" { // by a button below the list
		if name = query.Get("do"); len(query["id"]) == 0 {
			return frame{}, &formError{"No row was chosen: tick those that are meant."}
		}
	}
	verb, err := verbOf(name)
	if err != nil {
		return frame{}, err
	}
	kept := absolute(query)
	_, m, err := d.picked(r, kept)
	if err != nil {
		return frame{}, err
	}
	groups := m.Value.groups.Groups
	page := repairPage{
		rights: rightsOf(r), Job: job, Verb: verb.name, Effect: verb.effect, Danger: verb.danger, Matching: m.Value.rows, Which: describe(kept),
		Counted: moment(time.Now(), m.At), Groups: groups[:min(len(groups), maxRepairGroups)],
		Others: m.Value.groups.Others + max(0, len(groups)-maxRepairGroups),
		Back:   d.render.path("/jobs/", job) + "/failed",
	}
	page.Action = page.Back + "/" + string(verb.repair)
	for _, field := range filterFields {
		for _, value := range kept[field] {
			page.Fields = append(page.Fields, choice{Name: field, Value: value})
		}
	}
	command := rowsCommand(string(verb.repair), job, kept)
	if command != "" {
		command += " --expect=" + strconv.Itoa(page.Matching)
	}
	return frame{Title: verb.name + " rows of " + job, Job: job, Tab: "Failed rows", Command: command, Page: page}, nil
}

// describe says in words which rows are meant.
func describe(query url.Values) string {
	var parts []string
	words := map[string]string{
		"class": "class %s", "state": "state %s", "since": "failed since %s", "until": "failed until %s",
		"text": "reason contains “%s”", "key": "key %s", "pattern": "reason like “%s”",
	}
	for _, field := range filterFields {
		if value := query.Get(field); value != "" && words[field] != "" {
			parts = append(parts, fmt.Sprintf(words[field], value))
		}
	}
	if ids := query["id"]; len(ids) > 0 {
		parts = append(parts, verb(len(ids), "row ", "rows ")+strings.Join(ids, ", "))
	}
	if len(parts) == 0 {
		return "all failed rows of the job"
	}
	return strings.Join(parts, ", ")
}

// operationPage is a repair as it goes on.
type operationPage struct {
	rights
	Entry   operations.AuditEntry
	State   mark
	Of      int
	Ended   bool
	Meaning string
	At      template.HTML
	Took    string
}

func (d *Dashboard) readOperation(r *http.Request) (frame, error) {
	id, err := strconv.ParseInt(r.PathValue("entry"), 10, 64)
	if err != nil {
		return frame{}, errNotFound
	}
	s := d.entries.get(r.Context(), r.PathValue("entry"), entryReader(d.Console, id))
	if s.Err != nil {
		return frame{}, s.Err
	}
	e := s.Value
	if e.Job != r.PathValue("job") {
		return frame{}, errNotFound
	}
	result, _ := e.Result.Apart()
	page := operationPage{rights: rightsOf(r), Entry: e, State: resultMark(result), Ended: e.EndedAt != nil, At: moment(time.Now(), e.At)}
	page.Of, _ = strconv.Atoi(r.URL.Query().Get("of")) // without it only what is done is shown
	page.Meaning = "It goes on in the instance that began it, whether you watch or not. Should the number stand still for long, that instance is gone: ask for the repair again, and it does the rest."
	if page.Ended {
		page.Took = span(e.EndedAt.Sub(e.At))
		page.Meaning = "The workers deal with the rows now: what fails again comes back to the list."
		if result == store.ResultEarly {
			page.Meaning = "The workers deal with these rows; the others are still in the list: begin again to go on."
		}
	}
	return frame{Title: string(e.Action) + " of " + e.Job, Job: e.Job, Tab: "Failed rows", Command: "modulo audit", Page: page}, nil
}
