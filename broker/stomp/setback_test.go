package stomp_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"modulo/broker/brokertest"
	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// rewound is a worker on a broker whose store can be replaced by an older one.
type rewound struct {
	*tokened
	mq    *local.ActiveMQ
	older string // copy of the store
	epoch int64  // of the owner
}

func newRewound(t *testing.T) *rewound {
	mq := testservers.OwnBroker(t)
	return &rewound{
		tokened: &tokened{t: t, target: brokertest.Target{Addr: address(mq.URL())}, lineage: newLineage(), queue: brokertest.Queue(t)},
		mq:      mq, older: filepath.Join(t.TempDir(), "older"),
	}
}

// owner is the next owner of the worker.
func (r *rewound) owner() jobs.Publisher {
	r.t.Helper()
	r.epoch++
	return r.publisher(r.target.Addr, r.epoch)
}

// taken is the next owner once this one has left.
func (r *rewound) taken(before jobs.Publisher) jobs.Publisher {
	r.t.Helper()
	if err := before.Close(); err != nil {
		r.t.Fatal(err)
	}
	return r.owner()
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

// reconnected restarts the broker under an owner that connects again.
func (r *rewound) reconnected(p jobs.Publisher, alter func(store string) error) jobs.Recall {
	r.t.Helper()
	r.restart(alter)
	_ = p.Close() // its connection has ended with the broker
	return r.connect(p)
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
	p := r.owner()
	r.connect(p)
	kept := r.publish(p, 2)
	recall := r.reconnected(p, r.keep)
	wantRecall(t, recall, true, kept...)
	wantLost(t, recall, jobs.SetBack{})

	since := time.Now()
	lost := r.publish(p, 2)
	if err := p.Forget(t.Context()); err != nil { // writes a token, and no message
		t.Fatal(err)
	}
	lost = append(lost, r.publish(p, 3)...)
	recall = r.reconnected(p, r.goBack)
	wantRecall(t, recall, true, kept...)
	wantLost(t, recall, jobs.SetBack{Transactions: 3, Since: since, Rows: lost, All: true})

	after := r.publish(p, 1)
	recall = r.reconnected(p, r.nothing)
	wantRecall(t, recall, true, after...)
	wantLost(t, recall, jobs.SetBack{})
	if got, want := r.arrived(3), slices.Concat(kept, after); !slices.Equal(got, want) {
		t.Errorf("the broker holds %v, want %v", got, want)
	}
}

// TestBrokerSetBackBeforeTheOwner: the next owner finds it out, too, by the serial that was noted: not the rows. It is told
// until somebody has sent again.
func TestBrokerSetBackBeforeTheOwner(t *testing.T) {
	t.Parallel()
	r := newRewound(t)
	p := r.owner()
	r.connect(p)
	kept := r.publish(p, 2)
	r.reconnected(p, r.keep)
	since := time.Now()
	r.publish(p, 2)
	p = r.taken(p) // which makes the token its own
	r.connect(p)
	if err := p.Forget(t.Context()); err != nil { // notes that
		t.Fatal(err)
	}
	p = r.taken(p)
	r.restart(r.goBack)

	for _, transactions := range []int64{3, 2} { // each owner makes the token its own, which is a transaction
		recall := r.connect(p)
		wantRecall(t, recall, true, kept...)
		wantLost(t, recall, jobs.SetBack{Transactions: transactions, Since: since})
		p = r.taken(p)
		since = time.Now()
	}
	r.connect(p)
	if err := p.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLost(t, r.connect(r.taken(p)), jobs.SetBack{})
}

// wantLost compares; of Since it is enough that it is known, and not after that of want.
func wantLost(t *testing.T, recall jobs.Recall, want jobs.SetBack) {
	t.Helper()
	got := recall.SetBack
	if got.Transactions > 0 && !got.Since.IsZero() && !got.Since.After(want.Since) {
		got.Since = want.Since
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("set back by %+v, want %+v", got, want)
	}
}
