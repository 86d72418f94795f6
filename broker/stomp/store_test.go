package stomp_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// batches returns distinct batches of n messages of 20 kB each.
func batches(queue string, n int) func() []jobs.Message {
	number := 0
	return func() []jobs.Message {
		number++
		messages := brokertest.Texts(queue, fmt.Sprintf("batch %d row ", number), n)
		for i := range messages {
			messages[i].Body = append(messages[i].Body, bytes.Repeat([]byte(" "), 20_000)...)
		}
		return messages
	}
}

// Case 24: a store without room. Nothing is lost and no message is blamed; when there is room again, delivery goes on,
// with at most one copy per attempt that had no answer.
func TestFullStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		broker local.ActiveMQConfig
		fault  jobs.Fault
	}{
		"blocks":               {local.ActiveMQConfig{}, jobs.FaultConnection},
		"answers at once":      {local.ActiveMQConfig{FailIfNoSpace: true}, jobs.FaultBroker},
		"answers after 200 ms": {local.ActiveMQConfig{FailIfNoSpaceAfter: 200 * time.Millisecond}, jobs.FaultBroker},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.broker.StoreLimit = 4 << 20
			test.broker.KahaDB = []local.Attribute{{Name: "checkpointInterval", Value: "200"}, {Name: "cleanupInterval", Value: "200"}}
			mq := testservers.OwnBroker(t, test.broker)
			forStrategiesInTurn(t, func(t *testing.T, cfg stomp.Config) {
				if cfg.Window == 1 {
					return // adds nothing to a window of 16 and takes as long
				}
				if test.fault == jobs.FaultConnection {
					cfg.ReceiptTimeout = deadline
				}
				queue := brokertest.Queue(t)
				broker := target(address(mq.URL()), cfg)
				p := broker.Connected(t, broker.Addr)
				next := batches(queue, 10)
				var want []jobs.Message
				var last []jobs.Message
				var err error
				for len(want) < 1000 {
					last = next()
					if err = p.Publish(t.Context(), last, nil); err != nil {
						break
					}
					want = append(want, last...)
				}
				failed := brokertest.PublishFailed(t, err)
				if failed.Fault != test.fault || len(failed.Refused) > 0 ||
					test.fault == jobs.FaultBroker && !strings.Contains(err.Error(), "is Full") {
					t.Errorf("without room: %+v", failed)
				}
				if p.Atomic() && len(failed.Confirmed) > 0 {
					t.Errorf("without room: %+v", failed)
				}
				got := broker.Take(t, queue, len(want)) // makes room
				attempts := 1
				brokertest.Await(t, "room", func() bool {
					if brokertest.Connect(t.Context(), p) != nil {
						return false
					}
					attempts++
					return p.Publish(t.Context(), last, nil) == nil
				})
				got = append(got, broker.Drain(t, queue)...)
				want = append(want, last...)
				copies := len(got) - len(want)
				t.Logf("%d copies after %d attempts", copies, attempts)
				if copies < 0 || copies > attempts*len(last) || test.fault == jobs.FaultBroker && p.Atomic() && copies > 0 {
					t.Errorf("%d messages arrived of %d, with %d attempts", len(got), len(want), attempts)
				}
				checkAllThere(t, got, want)
			})
		})
	}
}

// checkAllThere fails the test unless every message has arrived at least once.
func checkAllThere(t *testing.T, got []brokertest.Received, want []jobs.Message) {
	t.Helper()
	arrived := map[string]bool{}
	for _, r := range got {
		arrived[r.Headers["event_id"]] = true
	}
	for _, m := range want {
		if !arrived[string(m.EventID)] {
			t.Errorf("%s has not arrived", m.EventID)
		}
	}
}
