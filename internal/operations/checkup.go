package operations

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"modulo/internal/doctor"
)

// Checkup is what the doctor found, and when.
type Checkup struct {
	At       *time.Time    `json:"at"` // null: nobody has asked this instance so far
	Findings doctor.Report `json:"findings"`
}

// checkup is the last one; one at a time is made.
type checkup struct {
	turn chan struct{} // held while the doctor is at work
	mu   sync.Mutex
	last Checkup
}

// ExamineLimit is how long the doctor may take: it waits for a broker that does not answer.
const ExamineLimit = 2 * time.Minute

// ErrExamining says that the doctor is at work already, for somebody else.
var ErrExamining = errors.New("the checks are running already: look again in a moment")

// Checkup returns what the doctor found last, in this process.
func (c *Console) Checkup() Checkup {
	c.checkup.mu.Lock()
	defer c.checkup.mu.Unlock()
	return c.checkup.last
}

// Examine makes all checks, for ExamineLimit at most: what takes longer is told by a finding. What was found for somebody who
// has left meanwhile counts for nothing.
func (c *Console) Examine(ctx context.Context) (Checkup, error) {
	select {
	case c.checkup.turn <- struct{}{}:
		defer func() { <-c.checkup.turn }()
	default:
		return Checkup{}, ErrExamining
	}
	limited, cancel := context.WithTimeout(ctx, ExamineLimit)
	defer cancel()
	findings, at := c.Doctor(limited), time.Now().UTC()
	if err := context.Cause(ctx); err != nil {
		return Checkup{}, fmt.Errorf("examine: %w", err)
	}
	if limited.Err() != nil {
		findings = append(findings, doctor.Finding{
			Group: "doctor", Name: "time", Status: doctor.Failure, Check: fmt.Sprintf("the checks were not finished within %s: the last ones failed for that alone", ExamineLimit),
			Hint: "ask modulo doctor, which takes its time",
		})
	}
	c.checkup.mu.Lock()
	defer c.checkup.mu.Unlock()
	c.checkup.last = Checkup{&at, findings}
	return c.checkup.last, nil
}
