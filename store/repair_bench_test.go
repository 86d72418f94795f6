package store_test

import (
	"testing"

	"modulo/jobs"
	"modulo/store"
)

// What people wait for on 200,000 failed rows whose reasons all differ: the groups, a page, the count of a group, and a
// retry of them all.
func BenchmarkManyFailures(b *testing.B) {
	f := newFixture(b)
	f.manyFailures(200_000)
	f.exec("vacuum analyze modulo.failures")
	all := store.FailureFilter{Job: "job"}
	group := store.FailureFilter{Job: "job", Class: jobs.ClassInvalid, Pattern: "header x: value # is bad"}
	after := int64(190_000)
	for name, do := range map[string]func() error{
		"groups": func() error { _, err := f.GroupFailures(b.Context(), all); return err },
		"count":  func() error { _, err := f.CountRepairable(b.Context(), group); return err },
		"page": func() error {
			page := group
			page.Limit, page.After = 100, &after
			_, err := f.ListFailures(b.Context(), page)
			return err
		},
		"retry": func() error { _, err := f.repair(store.RepairRetry, all); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
