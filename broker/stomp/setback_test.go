package stomp_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"modulo/broker/brokertest"
	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// rewound is a broker whose store can be replaced by an older one.
type rewound struct {
	*tokened
	mq    *local.ActiveMQ
	older string // copy of the store
}

func newRewound(t *testing.T) *rewound {
	mq := testservers.OwnBroker(t)
	return &rewound{
		tokened: &tokened{t: t, target: brokertest.Target{Addr: address(mq.URL())}, lineage: newLineage(), queue: brokertest.Queue(t)},
		mq:      mq, older: filepath.Join(t.TempDir(), "older"),
	}
}

// restart kills the broker, does something to its store, and starts it.
func (r *rewound) restart(alter func(store string) error) {
	r.t.Helper()
	r.mq.Kill()
	if err := alter(filepath.Join(filepath.Dir(r.mq.LogFile()), "data")); err != nil {
		r.t.Fatal(err)
	}
	if err := r.mq.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rewound) keep(store string) error { return os.CopyFS(r.older, os.DirFS(store)) }

func (r *rewound) goBack(store string) error {
	if err := os.RemoveAll(store); err != nil {
		return err
	}
	return os.CopyFS(store, os.DirFS(r.older))
}

func (r *rewound) nothing(string) error { return nil }

// TestBrokerSetBack: a broker that has lost what it confirmed, here because its store was replaced by an older one, is found
// out by the token, and the rows are told once.
func TestBrokerSetBack(t *testing.T) {
	t.Parallel()
	r := newRewound(t)
	p := r.publisher(r.target.Addr, 1)
	reconnected := func(alter func(store string) error) jobs.Recall {
		t.Helper()
		r.restart(alter)
		_ = p.Close() // its connection has ended with the broker
		return r.connect(p)
	}
	r.connect(p)
	kept := r.publish(p, 2)
	recall := reconnected(r.keep)
	wantRecall(t, recall, true, kept...)
	wantLost(t, recall, 0)

	since := time.Now()
	lost := r.publish(p, 2)
	if err := p.Forget(t.Context()); err != nil { // writes a token, and no message
		t.Fatal(err)
	}
	lost = append(lost, r.publish(p, 3)...)
	recall = reconnected(r.goBack)
	wantRecall(t, recall, true, kept...)
	wantLost(t, recall, 3, lost...)
	if recall.Since.IsZero() || recall.Since.After(since) {
		t.Errorf("since %s, want a time before %s", recall.Since, since)
	}

	after := r.publish(p, 1)
	recall = reconnected(r.nothing)
	wantRecall(t, recall, true, after...)
	wantLost(t, recall, 0)
	if got, want := r.arrived(3), slices.Concat(kept, after); !slices.Equal(got, want) {
		t.Errorf("the broker holds %v, want %v", got, want)
	}
}

// TestBrokerSetBackBeforeTheOwner: the next owner finds it out, too, by the serial that was noted last: not the rows, and not
// what was sent in the seconds before the end.
func TestBrokerSetBackBeforeTheOwner(t *testing.T) {
	t.Parallel()
	r := newRewound(t)
	p := r.publisher(r.target.Addr, 1)
	r.connect(p)
	kept := r.publish(p, 2)
	r.restart(r.keep)
	_ = p.Close() // as above
	r.connect(p)
	r.publish(p, 2)
	r.publish(p, 2) // notes the one before
	since := time.Now()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	r.restart(r.goBack)

	p = r.publisher(r.target.Addr, 2)
	recall := r.connect(p)
	wantRecall(t, recall, true, kept...)
	wantLost(t, recall, 1)
	if recall.Since.IsZero() || recall.Since.After(since) {
		t.Errorf("since %s, want a time before %s", recall.Since, since)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	wantLost(t, r.connect(r.publisher(r.target.Addr, 3)), 0)
}

func wantLost(t *testing.T, got jobs.Recall, transactions int64, rows ...int64) {
	t.Helper()
	if got.SetBack != transactions || !slices.Equal(got.Lost, rows) {
		t.Errorf("set back by %d, lost %v; want %d, %v", got.SetBack, got.Lost, transactions, rows)
	}
}
