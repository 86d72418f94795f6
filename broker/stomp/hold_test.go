package stomp_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/faultproxy"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// lineage is a stomp.Lineage in memory.
type lineage struct {
	mu       sync.Mutex
	name     string
	drawn    int
	made     bool
	problem  string
	serial   int64
	timeline int64
	taken    bool // another instance owns the worker
}

func (l *lineage) Claim(context.Context) (jobs.TokenClaim, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.made {
		l.drawn++
		l.serial = 0
	}
	return jobs.TokenClaim{Lineage: l.name + strconv.Itoa(l.drawn), Made: l.made, Serial: l.serial, Timeline: l.timeline}, nil
}

func (l *lineage) Made(_ context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name != l.name+strconv.Itoa(l.drawn) {
		return jobs.ErrFenced
	}
	l.made = true
	return nil
}

func (l *lineage) Held(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = ""
	if l.taken {
		return jobs.ErrFenced
	}
	return nil
}

func (l *lineage) Sent(_ context.Context, serial int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial = serial
	return nil
}

func (l *lineage) Report(_ context.Context, problem string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = problem
	return nil
}

func (l *lineage) noted() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem
}

// tokened are publishers of one worker that share a lineage, and the queue they send to.
type tokened struct {
	t       *testing.T
	target  brokertest.Target
	lineage *lineage
	queue   string
	rows    int64
}

func newTokened(t *testing.T) *tokened {
	target := brokertest.Target{Addr: address(testservers.Broker(t).URL())}
	return &tokened{t: t, target: target, lineage: newLineage(), queue: brokertest.Queue(t)}
}

// tokenRefresh makes every Forget write the token anew.
const tokenRefresh = time.Nanosecond

// token is what the token queue holds, seen beside its owner.
func (f *tokened) token() string {
	f.t.Helper()
	claim, _ := f.lineage.Claim(f.t.Context())
	tokens := f.target.Browse(f.t, "/queue/"+stomp.DefaultTokenPrefix+"outbox.3."+claim.Lineage)
	if len(tokens) != 1 {
		f.t.Fatalf("%d tokens", len(tokens))
	}
	return tokens[0].Text()
}

// publisher is one owner of the worker, with an epoch of its own.
func (f *tokened) publisher(addr string, epoch int64) jobs.Publisher {
	f.t.Helper()
	return f.publisherOf(addr, epoch, stomp.Config{})
}

// beating is a publisher whose silence the broker soon notices.
func (f *tokened) beating(addr string, epoch int64) jobs.Publisher {
	f.t.Helper()
	return f.publisherOf(addr, epoch, stomp.Config{Heartbeat: 500 * time.Millisecond})
}

func (f *tokened) publisherOf(addr string, epoch int64, cfg stomp.Config) jobs.Publisher {
	f.t.Helper()
	cfg.Hosts, cfg.TokenRefresh = []stomp.Host{{Address: addr}}, tokenRefresh
	b, err := stomp.New(patient(cfg))
	if err != nil {
		f.t.Fatal(err)
	}
	shard := jobs.Shard{Number: 3, Of: 8, Epoch: epoch}
	p := b.Publisher(&stomp.TokenConfig{Job: "outbox", Shard: shard, Lineage: f.lineage})
	f.t.Cleanup(func() { _ = p.Close() })
	return p
}

func (f *tokened) connect(p jobs.Publisher) jobs.Recall {
	f.t.Helper()
	var recall jobs.Recall
	brokertest.Await(f.t, "the token", func() bool {
		var err error
		recall, err = p.Connect(f.t.Context())
		if err != nil && brokertest.ConnectFailed(f.t, err).Fault != jobs.FaultConnection {
			f.t.Fatal(err)
		}
		return err == nil
	})
	return recall
}

// messages are the next n rows.
func (f *tokened) messages(n int) (messages []jobs.Message, ids []int64) {
	for range n {
		f.rows++
		messages = append(messages, jobs.Message{RowID: f.rows, EventID: []byte(strconv.FormatInt(f.rows, 10)), Destination: f.queue, Body: []byte(strconv.FormatInt(f.rows, 10))})
		ids = append(ids, f.rows)
	}
	return messages, ids
}

func (f *tokened) publish(p jobs.Publisher, n int, open ...int64) []int64 {
	f.t.Helper()
	messages, ids := f.messages(n)
	if err := p.Publish(f.t.Context(), messages, open); err != nil {
		f.t.Fatal(err)
	}
	return ids
}

// arrived are the rows in the queue, in order.
func (f *tokened) arrived(n int) (ids []int64) {
	f.t.Helper()
	for _, r := range f.target.Take(f.t, f.queue, n) {
		ids = append(ids, number(f.t, r))
	}
	return ids
}

// number is the row of a message.
func number(t *testing.T, r brokertest.Received) int64 {
	t.Helper()
	id, err := strconv.ParseInt(r.Text(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func rowIDs(recall jobs.Recall) (ids []int64) {
	for _, row := range recall.Rows {
		if row.Event != jobs.EventSum([]byte(strconv.FormatInt(row.RowID, 10))) {
			ids = append(ids, -1) // not the event of that row
		}
		ids = append(ids, row.RowID)
	}
	return ids
}

func wantRecall(t *testing.T, got jobs.Recall, kept bool, rows ...int64) {
	t.Helper()
	if got.Kept != kept || !slices.Equal(rowIDs(got), rows) || got.Without != "" {
		t.Errorf("recall %+v, want kept %v, rows %v", got, kept, rows)
	}
}

// The first owner makes the token, and each next one recalls what was committed last, and what was open then.
func TestTokenRecallsTheLastBatches(t *testing.T) {
	t.Parallel()
	f := newTokened(t)
	p := f.publisher(f.target.Addr, 7)
	wantRecall(t, f.connect(p), false)
	first := f.publish(p, 3)
	second := f.publish(p, 2, first...)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	next := f.publisher(f.target.Addr, 8)
	wantRecall(t, f.connect(next), true, append(first, second...)...)
	third := f.publish(next, 1, second...)
	wantRecall(t, f.connect(next), false) // connected: nothing to tell
	_ = next.Close()
	wantRecall(t, f.connect(next), true, append(second, third...)...)
	if err := next.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = next.Close()
	wantRecall(t, f.connect(next), true)
	before := f.token()
	if err := next.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := f.token(); after == before {
		t.Errorf("the token is as it was: %s", after)
	}
	f.publish(next, 1)
	_ = next.Close()
	f.lineage.timeline++ // the database has failed over: ids may be those of other rows
	wantRecall(t, f.connect(next), false)
	if got := f.arrived(7); !slices.Equal(got, []int64{1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("arrived %v", got)
	}
}

// Wherever the connection breaks in a batch, the token says exactly whether the batch is there.
func TestTokenTellsTheOutcomeOfACutBatch(t *testing.T) {
	t.Parallel()
	f := newTokened(t)
	proxy := brokertest.Proxy(t, f.target.Addr)
	p := f.publisher(proxy.Addr(), 1)
	f.connect(p)
	there := f.publish(p, 2)
	const steps = 40
	var outcomes [2]int
	before := there
	for step := range steps {
		messages, ids := f.messages(2)
		faults := faultproxy.Faults{Up: faultproxy.Flow{Cut: &faultproxy.Cut{After: int64(step * 14), How: faultproxy.RST}}}
		if step%2 == 1 {
			faults = faultproxy.Faults{Down: faultproxy.Flow{Cut: &faultproxy.Cut{After: int64(step), How: faultproxy.RST}}}
		}
		proxy.Set(faults)
		err := p.Publish(t.Context(), messages, nil)
		proxy.Set(faultproxy.Faults{})
		proxy.CutAll(faultproxy.RST)
		_ = p.Close()
		recall := f.connect(p)
		switch {
		case slices.Equal(rowIDs(recall), ids):
			there, before = append(there, ids...), ids
			outcomes[0]++
		case slices.Equal(rowIDs(recall), before) && err != nil:
			outcomes[1]++
		default:
			t.Fatalf("step %d: recalls %v, published %v with %v, before %v", step, recall.Rows, ids, err, before)
		}
	}
	t.Logf("%d batches were there, %d were not", outcomes[0], outcomes[1])
	if outcomes[0] == 0 || outcomes[1] == 0 {
		t.Errorf("outcomes %v: the cuts do not hit both", outcomes)
	}
	if got := f.arrived(len(there)); !slices.Equal(got, there) {
		t.Errorf("arrived %v, want %v", got, there)
	}
}

// An old owner that still lives cannot send once the next one has the token, and until then the next one waits.
func TestTokenFencesTheOldOwner(t *testing.T) {
	t.Parallel()
	z := newZombie(t)
	z.proxy.Set(faultproxy.Silent())
	outcome := make(chan error, 1)
	go func() { outcome <- z.old.Publish(t.Context(), z.messages, nil) }() // awaited below
	began := time.Now()
	wantRecall(t, z.connect(z.next), true, z.sent...)
	t.Logf("taken over after %s", time.Since(began).Round(time.Millisecond))
	z.proxy.Set(faultproxy.Faults{}) // what the zombie has written flows now
	if err := <-outcome; err == nil {
		t.Error("the old owner got its receipt")
	}
	after := z.publish(z.next, 2, z.sent...)
	if got, want := z.arrived(4), append(z.sent, after...); !slices.Equal(got, want) {
		t.Errorf("arrived %v, want %v", got, want)
	}
}

// What only a person can put right is noticed and reported, and never guessed.
func TestTokenTrouble(t *testing.T) {
	t.Parallel()
	const copied = `{"modulo":1,"job":"outbox","worker":3,"of":8,"epoch":1,"serial":1,"rows":""}`
	for name, test := range map[string]struct {
		hurt    func(f *tokened, queue string)
		problem string
	}{
		"gone":   {func(f *tokened, queue string) { f.target.Take(f.t, queue, 1) }, "the token is gone"},
		"copied": {func(f *tokened, queue string) { f.inject(queue, copied) }, "more than one token"},
		"foreign": {func(f *tokened, queue string) {
			f.target.Take(f.t, queue, 1)
			f.inject(queue, `{"modulo":1,"job":"other","worker":3}`)
		}, "not this worker's token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTokened(t)
			p := f.publisher(f.target.Addr, 1)
			f.connect(p)
			_ = p.Close()
			claim, _ := f.lineage.Claim(t.Context())
			queue := "/queue/" + stomp.DefaultTokenPrefix + "outbox.3." + claim.Lineage
			test.hurt(f, queue)
			_, err := p.Connect(t.Context())
			if failed := brokertest.ConnectFailed(t, err); failed.Fault != jobs.FaultConfiguration {
				t.Errorf("fault %s: %v", failed.Fault, failed)
			}
			if got := f.lineage.noted(); got == "" || !strings.Contains(got, test.problem) {
				t.Errorf("reported %q, want %q", got, test.problem)
			}
			f.lineage.made = false // what reset-token does
			wantRecall(t, f.connect(p), false)
			f.publish(p, 1)
			if got := f.lineage.noted(); got != "" {
				t.Errorf("still reported: %q", got)
			}
		})
	}
}

// A token_prefix that was changed is noticed: the worker waits, names the queue, and finds its rows once it is changed back.
func TestOtherTokenPrefix(t *testing.T) {
	t.Parallel()
	f := newTokened(t)
	p := f.publisher(f.target.Addr, 1)
	f.connect(p)
	sent := f.publish(p, 3)
	_ = p.Close()
	_, err := f.publisherOf(f.target.Addr, 2, stomp.Config{TokenPrefix: "elsewhere."}).Connect(t.Context())
	if failed := brokertest.ConnectFailed(t, err); failed.Fault != jobs.FaultConfiguration {
		t.Errorf("fault %s: %v", failed.Fault, failed)
	}
	if got := f.lineage.noted(); !strings.Contains(got, "elsewhere.outbox.3.") || !strings.Contains(got, "another broker.token_prefix") {
		t.Errorf("reported %q", got)
	}
	wantRecall(t, f.connect(f.publisher(f.target.Addr, 3)), true, sent...)
	if got := f.lineage.noted(); got != "" {
		t.Errorf("still reported: %q", got)
	}
}

// inject puts a message into a queue, as an operator might.
func (f *tokened) inject(queue, body string) {
	f.t.Helper()
	p := activeMQ(f.t, stomp.Config{}).Connected(f.t, f.target.Addr)
	if err := p.Publish(f.t.Context(), []jobs.Message{{Destination: queue, Body: []byte(body)}}, nil); err != nil {
		f.t.Fatal(err)
	}
}

// newLineage has names that no other test uses.
func newLineage() *lineage { return &lineage{name: fmt.Sprint(time.Now().UnixNano(), ".")} }

// wantWithout connects as a user who, or in a way that, can keep no token: it is gone without where it is not required,
// and refused where it is.
func wantWithout(t *testing.T, addr string, cfg stomp.Config, why string) {
	t.Helper()
	cfg.Hosts = []stomp.Host{{Address: addr, Username: "app", Password: "app"}}
	b, err := stomp.New(patient(cfg))
	if err != nil {
		t.Fatal(err)
	}
	for _, required := range []bool{false, true} {
		p := b.Publisher(&stomp.TokenConfig{Job: "outbox", Shard: jobs.Shard{Of: 1}, Lineage: newLineage(), Required: required})
		recall, err := p.Connect(t.Context())
		if required {
			if failed := brokertest.ConnectFailed(t, err); failed.Fault != jobs.FaultConfiguration || !strings.Contains(failed.Error(), why) {
				t.Errorf("required: %s: %v", failed.Fault, failed)
			}
			continue
		}
		if err != nil || recall.Kept || !strings.Contains(recall.Without, why) {
			t.Errorf("not required: %+v, %v", recall, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTokenNeedsTransactions(t *testing.T) {
	t.Parallel()
	wantWithout(t, address(testservers.Broker(t).URL()), stomp.Config{Confirm: stomp.Receipt}, "confirm is receipt")
}
