package main

import (
	"context"
	"sync"
)

// beside begins work that goes on in the background. The function it returns ends that work, and waits for its end.
func beside(ctx context.Context, work ...func(ctx context.Context)) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, part := range work {
		running.Go(func() { part(ctx) })
	}
	return func() {
		stop()
		running.Wait()
	}
}
