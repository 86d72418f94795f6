package store_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

var (
	bigRows = flag.Int("rows", 200_000, "size of the tables of BenchmarkBigTable")
	bigStep = flag.Bool("step", false, "BenchmarkBigTable waits for a line on stdin before each measurement")
)

// bigTable is a table of one kind, and its job.
type bigTable struct {
	name   string
	create string
	insert string // %d rows
	done   string // marks the rows where %s
	widen  string // makes payloads of 100 kB
	job    func() *jobs.Job
}

// bigTables are Modulo's own table, and one of a user with criteria of its own and the index that OpenSource recommends.
var bigTables = []bigTable{
	{
		name:   "outbox",
		insert: "insert into modulo.outbox (key, payload) select 'k' || i %% 10000, repeat('x', 128) from generate_series(1, %d) as i",
		done:   "update modulo.outbox as t set done_at = now() where %s",
		widen:  "update modulo.outbox set payload = repeat(md5(id::text), 3125)",
		job:    outboxJob,
	},
	{
		name: "own",
		create: `create table invoice (id bigint generated always as identity primary key, customer_id int not null,
			status text not null, total numeric not null, note text not null, sent_at timestamptz);
			create index on invoice (id) where (status = 'APPROVED' and sent_at is null)`,
		insert: "insert into invoice (customer_id, status, total, note) select i %% 10000, 'APPROVED', i, repeat('x', 128) from generate_series(1, %d) as i",
		done:   "update invoice as t set sent_at = now() where %s",
		widen:  "update invoice set note = repeat(md5(id::text), 3125)",
		job:    invoiceJob,
	},
}

func invoiceJob() *jobs.Job {
	return &jobs.Job{
		Name: "invoices", Workers: 5, Batch: 1000, Ordered: true,
		Source: jobs.Source{Table: "invoice", ID: "id", Where: "status = 'APPROVED' and sent_at is null",
			DoneSet: "sent_at = now()", ShardBy: "customer_id"},
		Message: jobs.MessageSpec{Destination: "/queue/billing.invoice", EventID: "invoice-{id}",
			Payload: jobs.Payload{Row: true, Columns: []string{"id", "customer_id", "total", "note"}}},
	}
}

// bigStates are what became of the rows of a table. What base does is done once, the rest before each drain.
var bigStates = []struct {
	name, base string
	prepare    func(bigTable, *fixture)
}{
	{"small", "small", nil},            // a tenth of -rows, all pending
	{"scattered", "scattered", nil},    // one of ten rows is pending, and vacuum has been there
	{"pending", "pending", nil},        // all
	{"wide", "wide", nil},              // a thousandth of -rows, with 100 kB each
	{"held", "pending", bigTable.bury}, // the same, behind as many dead entries that a snapshot keeps
	{"heldIdle", "pending", func(table bigTable, f *fixture) { // the same, and autovacuum does not try in vain
		f.exec("alter system set autovacuum = off")
		f.exec("select pg_reload_conf()")
		table.bury(f)
	}},
}

// bury puts new rows behind the dead entries of those there are.
func (table bigTable) bury(f *fixture) {
	f.holdSnapshot()
	f.exec(fmt.Sprintf(table.done, "true"))
	f.exec(fmt.Sprintf(table.insert, *bigRows))
}

func (table bigTable) loadBase(f *fixture, base string) {
	switch base {
	case "small":
		f.exec(fmt.Sprintf(table.insert, *bigRows/10))
	case "pending":
		f.exec(fmt.Sprintf(table.insert, *bigRows))
	case "wide":
		f.exec(fmt.Sprintf(table.insert, *bigRows/1000))
		f.exec(table.widen)
	case "scattered":
		f.exec(fmt.Sprintf(table.insert, *bigRows))
		f.exec(fmt.Sprintf(table.done, "hashint8(id) % 10 <> 0")) // by id % 10 the rows would be those of a few workers
	}
	f.exec("vacuum analyze")
}

// BenchmarkBigTable drains big tables by all workers of a job at once, to a broker that confirms everything at once: what
// remains is the database, and what Modulo asks of it. An operation is a drain. Reported are rows per second, the last
// tenth of the rows against the first (last/first), how long fetch and mark took per row, waiting for the processor
// included, and the peak of the heap.
func BenchmarkBigTable(b *testing.B) {
	settings := []string{"shared_buffers=2GB", "max_wal_size=16GB", "checkpoint_timeout=30min"}
	pg := testservers.OwnPostgres(b, local.PostgresConfig{Settings: settings})
	admin := &fixture{t: b, conn: testservers.Connect(b, pg.URL("postgres"))}
	stdin := bufio.NewReader(os.Stdin)
	for _, table := range bigTables {
		for _, state := range bigStates {
			for _, workers := range []int{1, 5, 64} {
				b.Run(fmt.Sprintf("%s/%s/K=%d", table.name, state.name, workers), func(b *testing.B) {
					admin.t = b
					base := table.base(b, pg, admin, state.base)
					for b.Loop() {
						b.StopTimer()
						admin.exec("drop database if exists drained with (force)")
						admin.exec("create database drained template " + base + " strategy file_copy")
						f := newBigFixture(b, pg.URL("drained"))
						if state.prepare != nil {
							state.prepare(table, f)
						}
						d := newDrain(f, table.job(), workers)
						if *bigStep {
							fmt.Fprintln(os.Stderr, "loaded")
							_, _ = stdin.ReadString('\n')
						}
						d.measure(b)
						admin.exec("alter system reset autovacuum")
						admin.exec("select pg_reload_conf()")
						b.StartTimer()
					}
				})
			}
		}
	}
}

// measure drains with the clock on.
func (d *drain) measure(b *testing.B) {
	d.warm()
	b.StartTimer()
	peak := peakHeap(d.run)
	b.StopTimer()
	b.ReportMetric(float64(peak>>20), "peak-MiB")
	d.report(b)
	if *bigStep {
		fmt.Fprintln(os.Stderr, "measured")
	}
}

// base makes the database with a table in a state that is copied before each drain, if it is not there yet.
func (table bigTable) base(b *testing.B, pg *local.Postgres, admin *fixture, state string) string {
	name := table.name + "_" + state
	if len(column[int](admin, "select 1 from pg_database where datname = $1", name)) > 0 {
		return name
	}
	admin.exec("create database " + name)
	f := newBigFixture(b, pg.URL(name))
	if _, err := f.MigrateUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	f.exec(table.create)
	table.loadBase(f, state)
	f.Close()
	_ = f.conn.Close(b.Context())
	return name
}

func newBigFixture(b *testing.B, url string) *fixture {
	return &fixture{t: b, url: url, DB: open(b, store.Config{URL: url, MaxConns: 16}), conn: testservers.Connect(b, url)}
}

// peakHeap is the most bytes of the heap, garbage included, that were in use while f ran.
func peakHeap(f func()) (peak uint64) {
	runtime.GC()
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	f()
	close(ended)
	watching.Wait()
	return peak
}

// drain is one pass of all workers of a job.
type drain struct {
	f       *fixture
	workers []*jobs.Worker
	table   string
	pending int

	mu          sync.Mutex
	begun       time.Time
	done        int
	tenths      []time.Time // when so many tenths were marked
	fetch, mark time.Duration
	slowest     time.Duration // fetch
	fetches     int
}

func newDrain(f *fixture, job *jobs.Job, workers int) *drain {
	job.Message.Allow, job.Message.MaxBody = []string{"/queue/*"}, jobs.DefaultMaxBody
	source := f.source(job)
	front := jobs.NewFront(source.Front)
	d := &drain{f: f, table: job.Source.Table}
	d.pending = column[int](f, fmt.Sprintf("select count(*)::int from %s as t where %s", job.Source.Table, job.Source.Where))[0]
	for number := range workers {
		rows := source.Worker(jobs.Shard{Number: number, Of: workers})
		worker, err := jobs.NewWorker(jobs.WorkerConfig{
			Job: job, Shard: jobs.Shard{Number: number, Of: workers}, Rows: rows, Failures: rows,
			Publisher: willing{}, Front: front, Grace: time.Minute, Observer: d, Log: zerolog.New(os.Stderr).Level(zerolog.WarnLevel),
		})
		if err != nil {
			f.t.Fatal(err)
		}
		d.workers = append(d.workers, worker)
	}
	return d
}

// warm reads the table once, so that it is measured what is in memory.
func (d *drain) warm() {
	d.f.exec("select count(t.*) from " + d.table + " as t")
	d.f.exec("checkpoint")
}

func (d *drain) run() {
	d.begun = time.Now()
	var running sync.WaitGroup
	for _, worker := range d.workers {
		running.Go(func() {
			if _, _, err := worker.Drain(d.f.t.Context()); err != nil {
				d.f.t.Error(err)
			}
		})
	}
	running.Wait()
}

func (d *drain) report(b *testing.B) {
	if len(d.tenths) < 10 {
		b.Fatalf("%d of %d rows are done", d.done, d.pending)
	}
	first, last := d.tenths[0].Sub(d.begun), d.tenths[9].Sub(d.tenths[8])
	perRow := func(t time.Duration) float64 { return float64(t.Microseconds()) / float64(d.done) }
	b.ReportMetric(float64(d.done)/d.tenths[9].Sub(d.begun).Seconds(), "rows/s")
	b.ReportMetric(first.Seconds()/last.Seconds(), "last/first")
	b.ReportMetric(perRow(d.fetch), "fetch-µs/row")
	b.ReportMetric(perRow(d.mark), "mark-µs/row")
	b.ReportMetric(float64(d.slowest.Milliseconds()), "slowest-fetch-ms")
	var rates []int
	for i, end := range d.tenths {
		begin := d.begun
		if i > 0 {
			begin = d.tenths[i-1]
		}
		rates = append(rates, int(float64(d.done)/10/end.Sub(begin).Seconds()))
	}
	b.Logf("rows/s by tenths: %v, %d fetches", rates, d.fetches)
}

// Did implements jobs.Observer.
func (d *drain) Did(_ jobs.WorkerID, step jobs.Step, rows int, took time.Duration, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch step {
	case jobs.StepFetch:
		d.fetches++
		d.fetch += took
		d.slowest = max(d.slowest, took)
	case jobs.StepMark:
		d.mark += took
		d.done += rows
		for len(d.tenths) < 10 && d.done >= (len(d.tenths)+1)*d.pending/10 {
			d.tenths = append(d.tenths, time.Now())
		}
	}
}

func (d *drain) Passed(jobs.WorkerID, jobs.Outcome, error) {}
func (d *drain) Confirmed(jobs.WorkerID, []jobs.Message)   {}
func (d *drain) Repeated(jobs.WorkerID, jobs.Fault)        {}
func (d *drain) SetBack(jobs.WorkerID, int64)              {}
func (d *drain) Failed(jobs.WorkerID, jobs.Class)          {}

// willing is a broker that confirms everything at once.
type willing struct{}

func (willing) Connect(context.Context) (jobs.Recall, error)                   { return jobs.Recall{}, nil }
func (willing) Publish(ctx context.Context, _ []jobs.Message, _ []int64) error { return ctx.Err() }
func (willing) Forget(context.Context) error                                   { return nil }
func (willing) Atomic() bool                                                   { return true }
func (willing) Close() error                                                   { return nil }
