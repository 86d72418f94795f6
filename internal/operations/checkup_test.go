package operations_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"modulo/internal/doctor"
	"modulo/internal/operations"
)

// The doctor works for one at a time; what was found for somebody who left before the end counts for nothing.
func TestExamine(t *testing.T) {
	t.Parallel()
	var c *operations.Console
	ctx, leave := context.WithCancel(t.Context())
	c = operations.New(operations.Config{Doctor: func(ctx context.Context) doctor.Report {
		if _, err := c.Examine(ctx); !errors.Is(err, operations.ErrExamining) {
			t.Errorf("beside another one: %v", err)
		}
		leave()
		return doctor.Report{{Name: "login", Status: doctor.Failure}}
	}})
	if _, err := c.Examine(ctx); !errors.Is(err, context.Canceled) || c.Checkup().At != nil {
		t.Errorf("%v, %+v", err, c.Checkup())
	}
	if _, err := c.Examine(t.Context()); err != nil || c.Checkup().At == nil || len(c.Checkup().Findings) != 1 {
		t.Errorf("%v, %+v", err, c.Checkup())
	}
}

// TestExamineLimit: what was found until the time was over is kept, and that it was over is told.
func TestExamineLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := operations.New(operations.Config{Doctor: func(ctx context.Context) doctor.Report {
			<-ctx.Done()
			return doctor.Report{{Name: "login", Status: doctor.OK}}
		}})
		found, err := c.Examine(t.Context())
		if err != nil || len(found.Findings) != 2 || found.Findings[0].Name != "login" || found.Findings[1].Name != "time" {
			t.Errorf("%v, %+v", err, found)
		}
	})
}
