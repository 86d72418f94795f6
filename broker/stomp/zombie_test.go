package stomp_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"modulo/broker/brokertest"
	"modulo/internal/faultproxy"
	"modulo/internal/programtest"
	"modulo/jobs"
)

const (
	zombiesAtOnce   = 40
	zombiePositions = 28 // bytes of a batch in the short form; the long one takes each
	zombiePatience  = time.Minute
)

// zombie is an owner whose connection stalls in the middle of a batch, and the next owner of its worker.
type zombie struct {
	*tokened
	proxy       *faultproxy.Proxy
	old, next   jobs.Publisher
	sent, batch []int64 // confirmed before, and sent when it stalled
	messages    []jobs.Message
	outcome     error // of the old owner's batch

	recall jobs.Recall // of the next owner
	err    error
	took   time.Duration
}

// newZombie holds the token and is about to send a batch, with another one open.
func newZombie(t *testing.T) *zombie {
	z := &zombie{tokened: newTokened(t)}
	z.proxy = brokertest.Proxy(t, z.target.Addr)
	first := z.publisher(z.target.Addr, 1)
	z.connect(first)
	z.sent = z.publish(first, 2)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	z.old, z.next = z.beating(z.proxy.Addr(), 2), z.publisher(z.target.Addr, 3)
	wantRecall(t, z.connect(z.old), true, z.sent...)
	z.messages, z.batch = z.tokened.messages(2)
	return z
}

// batchLength is how many bytes the batch of a zombie takes, without heart-beats.
func batchLength(t *testing.T) int64 {
	t.Helper()
	z := newZombie(t)
	_ = z.old.Close()
	alike := z.publisher(z.proxy.Addr(), 2)
	z.connect(alike)
	z.proxy.Set(faultproxy.Faults{})
	if err := alike.Publish(t.Context(), z.messages, z.sent); err != nil {
		t.Fatal(err)
	}
	up, _ := z.proxy.Carried()
	return up
}

// stall lets so many more bytes through, and none back.
func (z *zombie) stall(after int64) {
	faults := faultproxy.Faults{Up: faultproxy.Flow{StallAfter: after}, Down: faultproxy.Flow{Stall: true}}
	faults.Up.Stall = after == 0
	z.proxy.Set(faults)
}

// takeOver connects the next owner. The broker has to miss the old one's heart-beats first.
func (z *zombie) takeOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, zombiePatience)
	defer cancel()
	began := time.Now()
	for ctx.Err() == nil {
		if z.recall, z.err = z.next.Connect(ctx); z.err == nil {
			break
		}
	}
	z.took = time.Since(began)
}

// goOn lets the next owner send its first messages, and then lets through what the old one has written.
func (z *zombie) goOn() (committed bool) {
	z.t.Helper()
	if z.err != nil {
		z.t.Fatalf("the next owner: %v", z.err)
	}
	committed = slices.Equal(rowIDs(z.recall), append(slices.Clone(z.sent), z.batch...))
	if !committed {
		wantRecall(z.t, z.recall, true, z.sent...)
		if err := z.next.Publish(z.t.Context(), z.messages, z.sent); err != nil {
			z.t.Fatal(err)
		}
	}
	z.publish(z.next, 1, z.batch...)
	z.proxy.Set(faultproxy.Faults{})
	return committed
}

// wave stalls a zombie at each position of a batch, and returns how many batches were committed and the longest
// take-over.
func wave(t *testing.T, positions []int64) (committed int, longest time.Duration) {
	t.Helper()
	var zombies []*zombie
	var sending, taking sync.WaitGroup
	for _, after := range positions {
		z := newZombie(t)
		z.stall(after)
		sending.Go(func() { z.outcome = z.old.Publish(t.Context(), z.messages, z.sent) })
		taking.Go(func() { z.takeOver(t.Context()) })
		zombies = append(zombies, z)
	}
	taking.Wait()
	for _, z := range zombies {
		if z.goOn() {
			committed++
		}
		longest = max(longest, z.took)
	}
	sending.Wait()
	for i, z := range zombies {
		if z.outcome == nil {
			t.Errorf("byte %d: the old owner got its receipt", positions[i])
		}
		z.publish(z.next, 1)
		var arrived []int64
		for _, r := range z.target.Drain(t, z.queue) {
			arrived = append(arrived, number(t, r))
		}
		if want := []int64{1, 2, 3, 4, 5, 6}; !slices.Equal(arrived, want) {
			t.Errorf("byte %d: arrived %v, want %v", positions[i], arrived, want)
		}
		for _, p := range []jobs.Publisher{z.old, z.next} {
			_ = p.Close() // before the next wave
		}
	}
	return committed, longest
}

// A zombie that is stopped at any byte of a batch, and goes on when its successor has sent something: nothing of it
// arrives then, and the successor's token says exactly what had arrived before. A sample of bytes, or each with
// MODULO_CHAOS=long.
func TestZombieResumedAtEveryByte(t *testing.T) {
	t.Parallel()
	length := batchLength(t)
	step := programtest.ShortOrLong(max(1, length/zombiePositions), 1)
	var positions []int64
	for after := int64(0); after < length-2; after += step {
		positions = append(positions, after)
	}
	for after := length - 2; after <= length+18; after += 4 { // ids grow meanwhile, and heart-beats come between
		positions = append(positions, after)
	}
	began := time.Now()
	committed, longest := 0, time.Duration(0)
	for some := range slices.Chunk(positions, zombiesAtOnce) {
		n, took := wave(t, some)
		committed, longest = committed+n, max(longest, took)
	}
	t.Logf("%d positions in %d bytes, %d after the COMMIT, in %s; the token came after at most %s",
		len(positions), length, committed, time.Since(began).Round(time.Millisecond), longest.Round(time.Millisecond))
	if committed == 0 || committed == len(positions) {
		t.Errorf("%d of %d batches were committed: the positions do not hit both", committed, len(positions))
	}
}
