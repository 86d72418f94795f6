package stomp_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"modulo/broker/brokertest"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// TestBrokerSetBack: a broker that has lost what it confirmed, here because its store was replaced by an older one, is found
// out by the token, and the rows are told once.
func TestBrokerSetBack(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t)
	f := &tokened{t: t, target: brokertest.Target{Addr: address(mq.URL())}, lineage: newLineage(), queue: brokertest.Queue(t)}
	p := f.publisher(f.target.Addr, 1)
	// restarted connects again, after something was done to the broker's store.
	restarted := func(alter func(store string)) jobs.Recall {
		t.Helper()
		mq.Kill()
		_ = p.Close() // the broker does not answer the goodbye
		alter(filepath.Join(filepath.Dir(mq.LogFile()), "data"))
		if err := mq.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return f.connect(p)
	}
	older := filepath.Join(t.TempDir(), "older")
	f.connect(p)
	kept := f.publish(p, 2)
	recall := restarted(func(store string) {
		if err := os.CopyFS(older, os.DirFS(store)); err != nil {
			t.Fatal(err)
		}
	})
	wantRecall(t, recall, true, kept...)
	wantLost(t, recall, 0)

	lost := f.publish(p, 2)
	if err := p.Forget(t.Context()); err != nil { // writes a token, and no message
		t.Fatal(err)
	}
	lost = append(lost, f.publish(p, 3)...)
	recall = restarted(func(store string) {
		if err := os.RemoveAll(store); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(store, os.DirFS(older)); err != nil {
			t.Fatal(err)
		}
	})
	wantRecall(t, recall, true, kept...)
	wantLost(t, recall, 2, lost...)

	after := f.publish(p, 1)
	recall = restarted(func(string) {})
	wantRecall(t, recall, true, after...)
	wantLost(t, recall, 0)
	if got, want := f.arrived(3), slices.Concat(kept, after); !slices.Equal(got, want) {
		t.Errorf("the broker holds %v, want %v", got, want)
	}
}

func wantLost(t *testing.T, got jobs.Recall, transactions int, rows ...int64) {
	t.Helper()
	if got.SetBack != transactions || !slices.Equal(got.Lost, rows) {
		t.Errorf("set back by %d, lost %v; want %d, %v", got.SetBack, got.Lost, transactions, rows)
	}
}
