package jobs

import (
	"errors"
	"fmt"
	"regexp"
)

const (
	// DefaultMaxBody is the largest message body unless the job says otherwise, in bytes.
	DefaultMaxBody = 10 << 20
	// largestMaxBody is what ActiveMQ takes in one frame by default (wireFormat.maxFrameSize), in bytes.
	largestMaxBody = 100 << 20
)

var jobName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// Check says all that is wrong with a definition, as far as it can be seen without the database.
func (j *Job) Check() error {
	var problems []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	wrong(!jobName.MatchString(j.Name), "name %q: must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit", j.Name)
	wrong(j.Workers < 1 || j.Workers > MaxWorkers, "workers: %d is not within 1 and %d", j.Workers, MaxWorkers)
	switch j.Repeats {
	case RepeatsAuto, RepeatsNone, RepeatsPossible:
	default:
		wrong(true, "repeats: %.20q, want none or possible", string(j.Repeats))
	}
	wrong(j.Batch < 1 || j.Batch > MaxBatch, "batch: %d is not within 1 and %d", j.Batch, MaxBatch)
	wrong(j.Source.Table == "", "source.table: missing")
	wrong(j.Source.ID == "", "source.id: missing; name the integer column that identifies a row")
	wrong(j.Source.Where == "", "source.where: missing; say which rows are pending, as in \"sent_at is null\"")
	wrong(j.Source.DoneSet == "", "done.set: missing; say what marks a row done, as in \"sent_at = now()\"")
	wrong(j.Ordered && j.Source.ShardBy == "", "ordered: needs source.shard_by, the column within which order is kept")
	wrong(j.Retry.MaxAttempts < 1, "retry.max_attempts: %d is less than 1", j.Retry.MaxAttempts)
	wrong(j.Retry.MinBackoff <= 0 || j.Retry.MaxBackoff < j.Retry.MinBackoff, "retry.backoff: %s..%s is not a range", j.Retry.MinBackoff, j.Retry.MaxBackoff)
	wrong(j.Message.MaxBody < 1 || j.Message.MaxBody > largestMaxBody, "message.max_body: %d is not within 1 and %d bytes", j.Message.MaxBody, largestMaxBody)
	payload, kinds := j.Message.Payload, 0
	for _, set := range []bool{payload.Row, payload.Column != "", payload.SQL != ""} {
		if set {
			kinds++
		}
	}
	wrong(kinds != 1, "message.payload: must be one of: row, a column, an SQL expression")
	wrong(len(payload.Columns) > 0 && !payload.Row, "message.columns: goes with payload: row only")
	wrong(j.Listen && j.Schedule.Cron != "", "listen: goes with every only: a cron expression says when passes begin, and only then")
	problems = append(problems, j.Schedule.check())
	if _, err := NewBuilder(j, Shard{Number: 0, Of: 1}); err != nil {
		problems = append(problems, fmt.Errorf("message: %w", err))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("job %s:\n%w", j.Name, err)
	}
	return nil
}
