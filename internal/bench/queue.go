package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/stomp"
)

// surplusWait is how long a queue that has given what was expected is watched for more.
const surplusWait = 100 * time.Millisecond

// taken is what a queue held.
type taken struct{ messages, events int }

// take empties a queue, or all queues of a pattern. It waits for so many events, and returns what there was when no more
// comes for a while.
func take(ctx context.Context, hosts []stomp.Host, queue string, expected int) (t taken, err error) {
	w, err := connectWire(ctx, hosts)
	if err != nil {
		return t, err
	}
	defer context.AfterFunc(ctx, w.cut)()
	defer func() { err = errors.Join(err, w.Close()) }()
	subscribe := "SUBSCRIBE\nid:0\nack:auto\ndestination:" + queue + "\nactivemq.prefetchSize:5000\n\n\x00"
	if _, err := io.WriteString(w, subscribe); err != nil {
		return t, err
	}
	seen := make(map[string]struct{}, expected)
	for {
		patience := answerPatience
		if len(seen) >= expected {
			patience = surplusWait
		}
		_ = w.SetReadDeadline(time.Now().Add(patience))
		f, err := w.next()
		t.events = len(seen)
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
			_ = w.SetDeadline(time.Now().Add(answerPatience))
			return t, w.unsubscribe()
		}
		if err != nil {
			return t, fmt.Errorf("empty queue %s: %w", queue, errors.Join(err, context.Cause(ctx)))
		}
		if f.Command == frame.MESSAGE {
			t.messages++
			seen[f.Header.Get("event_id")] = struct{}{}
		}
	}
}

// unsubscribe returns once the broker has done it, and with it every acknowledgement.
func (w *wire) unsubscribe() error {
	_, err := io.WriteString(w, "UNSUBSCRIBE\nid:0\nreceipt:end\n\n\x00")
	for err == nil {
		var f *frame.Frame
		if f, err = w.next(); err == nil && f.Command == frame.RECEIPT {
			return nil
		}
	}
	return err
}
