package api

import (
	"slices"

	"modulo/internal/operations"
	"modulo/jobs"
	"modulo/store"
)

// repair retries or discards the rows that match. Answers are 200 where all is done, 202 where it goes on.
func repair(what store.Repair) func(*request) (any, error) {
	return func(r *request) (any, error) {
		want, err := body[repairBody](r)
		if err != nil {
			return nil, err
		}
		switch {
		case want.IDs != nil && len(want.IDs) == 0:
			return nil, bad("ids: empty; leave it out to mean all rows that match")
		case want.Class != "" && !slices.Contains(jobs.Classes(), want.Class):
			return nil, bad("class: no such class")
		case want.State != "" && !slices.Contains(states, want.State):
			return nil, bad("state: no such state")
		}
		done, err := r.console.StartRepair(r.Context(), r.actor(want.Reason), operations.RepairRequest{
			Repair: what, Expect: want.ExpectCount,
			Filter: store.FailureFilter{
				Job: r.PathValue("job"), IDs: want.IDs, Class: want.Class, State: want.State, Key: want.Key,
				Pattern: want.Pattern, Contains: want.Contains, Since: want.Since, Until: want.Until,
			},
		})
		if err != nil {
			return nil, err
		}
		if !done.Ended {
			return accepted{done}, nil
		}
		return done, nil
	}
}
