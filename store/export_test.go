package store

import "modulo/jobs"

// PlanSettings are the session's, but behind a pooler.
func PlanSettings() map[string]string { return planSettings }

// FetchSQL and MarkSQL let tests look at plans.
func (s *Source) FetchSQL(shard jobs.Shard) string { return s.sql.fetch(shard) }
func (s *Source) MarkSQL() string                  { return s.mark }
func (s *Source) DueSQL() string                   { return s.due }
