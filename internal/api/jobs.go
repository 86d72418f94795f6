package api

import (
	"modulo/internal/operations"
	"modulo/jobs"
	"modulo/store"
)

func overview(r *request) (any, error) { return r.console.Overview(r.Context()) }

func job(r *request) (any, error) { return r.console.Job(r.Context(), r.PathValue("job")) }

func history(r *request) (any, error) {
	if err := r.console.CheckJob(r.Context(), r.PathValue("job")); err != nil {
		return nil, err
	}
	return struct {
		Points []operations.Point `json:"points"`
	}{r.console.History(r.PathValue("job"))}, nil
}

func passes(r *request) (any, error) {
	list, err := r.console.Passes(r.Context(), r.PathValue("job"))
	return struct {
		Passes []operations.Pass `json:"passes"`
	}{list}, err
}

func pastPasses(r *request) (any, error) {
	q := queryOf(r)
	filter := store.PassFilter{Job: r.PathValue("job"), Trouble: q.flag("trouble"), Limit: q.number("limit", defaultPage, operations.MaxPage)}
	if n := q.optional("worker"); n != nil {
		filter.Worker = new(int(*n))
	}
	var err error
	if filter.Before, err = operations.ParsePosition(q.text("before")); err != nil {
		q.wrong("before", err.Error())
	}
	if err := q.done(); err != nil {
		return nil, err
	}
	return r.console.PastPasses(r.Context(), filter)
}

func tokens(r *request) (any, error) {
	list, err := r.console.Tokens(r.Context(), r.PathValue("job"))
	return struct {
		Tokens []operations.Token `json:"tokens"`
	}{list}, err
}

func preview(r *request) (any, error) {
	q := queryOf(r)
	workers := q.number("workers", 0, jobs.MaxWorkers)
	if err := q.done(); err != nil {
		return nil, err
	}
	return r.console.Preview(r.Context(), r.PathValue("job"), workers)
}

func change(r *request) (any, error) { return r.console.Change(r.Context(), r.PathValue("job")) }

// reasonBody is the body of a change that needs nothing but its reason.
type reasonBody struct {
	Reason string `json:"reason"`
}

func (r *request) actor(reason string) store.Actor {
	return store.Actor{Who: r.visitor.Name, Reason: reason}
}

func setWorkers(r *request) (any, error) {
	want, err := body[struct {
		Workers      int    `json:"workers"`
		IfGeneration *int64 `json:"if_generation"`
		Reason       string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("job")
	wanted := store.WorkersChange{Job: name, Workers: want.Workers}
	if want.IfGeneration != nil {
		if wanted.IfGeneration = *want.IfGeneration; wanted.IfGeneration < 1 {
			return nil, bad("if_generation: not one that was ever in force; leave it out to mean any")
		}
	}
	_, err = r.console.SetWorkers(r.Context(), r.actor(want.Reason), wanted)
	if err != nil {
		return nil, err
	}
	now, err := r.console.Advance(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if now.InForce {
		return now, nil
	}
	return accepted{now}, nil
}

func abortChange(r *request) (any, error) {
	want, err := body[struct {
		IfChangingTo int    `json:"if_changing_to"`
		IfGeneration int64  `json:"if_generation"`
		Reason       string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	aborted, err := r.console.AbortChange(r.Context(), r.actor(want.Reason),
		store.WorkersChange{Job: r.PathValue("job"), Workers: want.IfChangingTo, IfGeneration: want.IfGeneration})
	if err != nil {
		return nil, err
	}
	if !aborted {
		return nil, conflict("the job is not being changed")
	}
	return r.console.Change(r.Context(), r.PathValue("job"))
}

func pause(paused bool) func(*request) (any, error) {
	return func(r *request) (any, error) {
		want, err := body[reasonBody](r)
		if err != nil {
			return nil, err
		}
		if err := r.console.Pause(r.Context(), r.actor(want.Reason), r.PathValue("job"), paused); err != nil {
			return nil, err
		}
		return job(r)
	}
}

func trigger(r *request) (any, error) {
	want, err := body[reasonBody](r)
	if err != nil {
		return nil, err
	}
	if err := r.console.Trigger(r.Context(), r.actor(want.Reason), r.PathValue("job")); err != nil {
		return nil, err
	}
	return job(r)
}

func resetTokens(r *request) (any, error) {
	want, err := body[struct {
		Worker *int   `json:"worker"`
		Force  bool   `json:"force"`
		Reason string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	n, err := r.console.ResetTokens(r.Context(), r.actor(want.Reason), r.PathValue("job"), want.Worker, want.Force)
	return struct {
		Reset int `json:"reset"`
	}{n}, err
}

func instances(r *request) (any, error) {
	list, err := r.console.Instances(r.Context())
	return struct {
		Instances []operations.Instance `json:"instances"`
	}{list}, err
}
