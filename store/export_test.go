package store

import (
	"context"
	"fmt"
	"strings"

	"modulo/jobs"
)

// PlanSettings are the session's, but behind a pooler.
func PlanSettings() map[string]string { return planSettings }

// FetchSQL and the like let tests look at plans.
func (s *Source) FetchSQL(shard jobs.Shard) string { return s.sql.fetch(shard) }
func (s *Source) MarkSQL() string                  { return s.mark }
func (s *Source) SettleSQL() string                { return s.settle }
func (s *Source) PendingSQL() string               { return s.pending }
func (s *Source) DueSQL() string                   { return s.due }
func (s *Source) FrontSQL() string                 { return s.front }
func (s *Source) BacklogSQL() string               { return s.sql.backlog(s.created) }

// OwnershipSQL are the statements of a heartbeat and a tick that change or look for rows, with values for parameters.
func OwnershipSQL() map[string]string {
	values := strings.NewReplacer(
		"$1::uuid", "(select max(owner::text)::uuid from modulo.workers where number = 0)", "$2::float8", "600", "$3::bigint", "1", "%s", timeline,
		"$1::text[]", "array['outbox']", "$1::float8", "1")
	return map[string]string{
		"beat": values.Replace(beatSQL), "reap": reapSQL, "instances": values.Replace(viewInstancesSQL),
		"workers": values.Replace(viewWorkersSQL), "jobs": values.Replace(viewJobsSQL),
	}
}

// Ping says whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	return db.pool.Ping(ctx)
}

// LimitBatches makes the batches of sources that are opened from now on stop at fewer bytes.
func (db *DB) LimitBatches(bytes int) { db.batchBytes = bytes }

// NextEpoch draws a number greater than all drawn before.
func (db *DB) NextEpoch(ctx context.Context) (int64, error) {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	var epoch int64
	if err := db.pool.QueryRow(ctx, `select nextval('modulo.epoch')`).Scan(&epoch); err != nil {
		return 0, fmt.Errorf("next epoch: %w", err)
	}
	return epoch, nil
}

// RetentionLimits are the settings of a Sweep's transactions, for a session.
const RetentionLimits = "set enable_seqscan = off; set enable_bitmapscan = off"

// SQL lets tests look at the plans of a Sweep.
func (s *Sweep) SQL() (walk, remove string) { return s.kind.walk + " limit 1000", s.kind.remove }
