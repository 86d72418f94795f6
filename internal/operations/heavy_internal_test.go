package operations

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"modulo/jobs"
	"modulo/store"
)

// TestHeavy: few walk over rows at a time, the next one waits, and gives up with its context.
func TestHeavy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Jobs: []*jobs.Job{{Name: "outbox"}}})
		read, under := make(chan struct{}), 0
		for range maxHeavy + 1 {
			go func() {
				_, err := heavily(t.Context(), c, func() (int, error) {
					under++
					<-read
					return 0, nil
				})
				if err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		if under != maxHeavy {
			t.Errorf("%d read at a time, want %d", under, maxHeavy)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		filter := store.FailureFilter{Job: "outbox"}
		for name, ask := range map[string]func() error{
			"groups":   func() error { _, err := c.Groups(gone, filter); return err },
			"failures": func() error { _, err := c.Failures(gone, filter); return err },
			"count":    func() error { _, err := c.Count(gone, filter); return err },
			"repair":   func() error { _, err := c.CountRepair(gone, filter); return err },
			"row":      func() error { _, err := c.Row(gone, "outbox", 1, false); return err },
		} {
			if err := ask(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		close(read)
		synctest.Wait()
		if under != maxHeavy+1 {
			t.Errorf("%d have read, want %d", under, maxHeavy+1)
		}
	})
}
