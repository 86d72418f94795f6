package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"modulo/internal/testservers"
	"modulo/jobs"
	"modulo/store"
)

// refused opens a job that must not pass and returns why.
func (f *fixture) refused(job *jobs.Job) error {
	f.t.Helper()
	source, _, err := f.OpenSource(f.t.Context(), job)
	if err == nil || source != nil {
		f.t.Fatal("the job is accepted")
	}
	return err
}

func TestOpenSourceRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id) values (1);
		create view own_view as select * from own;
		create table twice (id int, payload text, sent_at timestamptz); create index on twice (id); create unique index on twice (id, payload);
		create unique index on twice (id) where payload is null;
		create table uuids (id uuid primary key, payload text, sent_at timestamptz)`)
	for name, c := range map[string]struct {
		change func(*jobs.Job)
		want   []string
	}{
		"no table":         {func(j *jobs.Job) { j.Source.Table = "nothing" }, []string{"source.table: table nothing does not exist"}},
		"other case":       {func(j *jobs.Job) { j.Source.Table = "OWN" }, []string{"did you mean public.own?"}},
		"injected table":   {func(j *jobs.Job) { j.Source.Table = `own; drop table own` }, []string{"does not exist"}},
		"injected quotes":  {func(j *jobs.Job) { j.Source.Table = `own" as t; drop table own; --` }, []string{"does not exist"}},
		"view":             {func(j *jobs.Job) { j.Source.Table = "own_view" }, []string{"own_view is a view: name the table itself"}},
		"index":            {func(j *jobs.Job) { j.Source.Table = "own_pkey" }, []string{"own_pkey is not a table"}},
		"not unique":       {func(j *jobs.Job) { j.Source.Table = "twice" }, []string{"column id is not unique", `create unique index concurrently on "public"."twice" ("id")`}},
		"not an integer":   {func(j *jobs.Job) { j.Source.Table = "uuids" }, []string{"column id is uuid, not an integer"}},
		"no id column":     {func(j *jobs.Job) { j.Source.ID = "ID" }, []string{"has no column ID: did you mean id?"}},
		"injected id":      {func(j *jobs.Job) { j.Source.ID = `id" = 1 or "id` }, []string{"has no column"}},
		"no payload":       {func(j *jobs.Job) { j.Message.Payload.Column = "body" }, []string{"message.payload: ", "has no column body: name one of id, payload, sent_at, tenant"}},
		"no row column":    {func(j *jobs.Job) { j.Message.Payload = jobs.Payload{Row: true, Columns: []string{"id", "body"}} }, []string{"message.columns: "}},
		"no template":      {func(j *jobs.Job) { j.Message.EventID = "{region}-{id}" }, []string{"has no column region"}},
		"headers text":     {func(j *jobs.Job) { j.Message.HeadersColumn = "sent_at" }, []string{"message.headers: column sent_at is timestamp with time zone, not json"}},
		"key by time":      {func(j *jobs.Job) { j.Source.ShardBy = "sent_at" }, []string{"source.shard_by: the text of sent_at"}},
		"no criteria":      {func(j *jobs.Job) { j.Source.Where = " " }, []string{"source.where: ", "is empty"}},
		"criteria syntax":  {func(j *jobs.Job) { j.Source.Where = "sent_at is nul" }, []string{"source.where: syntax error"}},
		"criteria column":  {func(j *jobs.Job) { j.Source.Where = "sentat is null" }, []string{`source.where: column "sentat" does not exist`}},
		"criteria type":    {func(j *jobs.Job) { j.Source.Where = "id" }, []string{"source.where: argument of WHERE must be type boolean"}},
		"criteria breaks":  {func(j *jobs.Job) { j.Source.Where = "true) or (true" }, []string{"source.where: ", "did not open"}},
		"criteria swallow": {func(j *jobs.Job) { j.Source.Where = "sent_at is null /*" }, []string{"comment"}},
		"criteria stacked": {func(j *jobs.Job) { j.Source.Where = "true; drop table own" }, []string{`has a ";"`}},
		"criteria param":   {func(j *jobs.Job) { j.Source.Where = "id > $1" }, []string{"parameter $1"}},
		"payload syntax":   {func(j *jobs.Job) { j.Message.Payload = jobs.Payload{SQL: "payload ||"} }, []string{"message.payload: syntax error"}},
		"done column":      {func(j *jobs.Job) { j.Source.DoneSet = "done = true" }, []string{`done.set: column "done"`}},
		"done stays":       {func(j *jobs.Job) { j.Source.DoneSet = "payload = 'x'" }, []string{`done.set: row 1 is still pending after "payload = 'x'"`, "let it make source.where false"}},
		"done other row":   {func(j *jobs.Job) { j.Source.DoneSet = "sent_at = now() where false --" }, []string{"done.set: syntax error"}},
		"several at once": {func(j *jobs.Job) { j.Source.Where, j.Source.DoneSet = "nope is null", "x = 1" },
			[]string{`source.where: column "nope"`, `done.set: column "x"`}},
	} {
		t.Run(name, func(t *testing.T) {
			job := tableJob("own")
			c.change(job)
			wantError(t, f.refused(job), c.want...)
		})
	}
	if n := column[int64](f, "select count(*) from own where sent_at is null and payload is null"); n[0] != 1 {
		t.Error("a check changed the table")
	}
}

func TestOpenSourceAcceptsComments(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id, payload) values (1, 'it''s ;) -- here'), (2, 'other')`)
	job := tableJob("own")
	job.Source.Where = "sent_at is null and payload = 'it''s ;) -- here' -- or true"
	job.Source.DoneSet = "sent_at = now(), /* ( */ tenant = ')' -- where"
	worker := f.source(job).Worker(jobs.Shard{Number: 1, Of: 2})
	wantIDs(t, "fetch", fetch(t, worker), 1)
	if err := worker.MarkDone(t.Context(), []int64{1}); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "fetch when done", fetch(t, worker))
}

// A column of the table may be called like any name that our SQL uses.
func TestColumnNamesOfOurs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table own (id int primary key, t text, f text, r text, c text, job text, row_id int, pending bool default true, key text, attempts int, mark_only text);
		insert into own (id, t, job, attempts) values (1, 'tee', 'other', 5)`)
	job := tableJob("own")
	job.Source.Where, job.Source.DoneSet = "pending and job = 'other' and attempts = 5 and row_id is null", "pending = false"
	job.Source.ShardBy, job.Ordered = "key", true
	job.Message.EventID = "{id}{t}{pending}{attempts}"
	job.Message.Payload = jobs.Payload{Row: true, Columns: []string{"t", "c", "f", "r", "pending"}}
	worker := f.source(job).Worker(jobs.Shard{Of: 1})
	const want = `1 "" "{\"t\":\"tee\",\"c\":null,\"f\":null,\"r\":null,\"pending\":true}" ["1" "tee" "true" "5"] `
	if got := rowText(fetch(t, worker)); got != want+"0" {
		t.Errorf("fetch: %s", got)
	}
	park(t, worker, jobs.Failure{RowID: 1, Attempts: 2, RetryAfter: soon})
	if got := rowText(due(t, worker)); got != want+"2" {
		t.Errorf("due: %s", got)
	}
}

func TestOpenSourceChecksRights(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec("create schema app; create table app.own (id bigint primary key, payload text, sent_at timestamptz, tenant text); insert into app.own (id) values (1)")
	role := f.role()
	db := open(t, store.Config{URL: f.as(role)})
	job := tableJob("app.own")
	next := func(grant string, want ...string) {
		t.Helper()
		_, _, err := db.OpenSource(t.Context(), job)
		wantError(t, err, want...)
		f.exec(grant)
	}
	wantError(t, db.CheckSchema(t.Context()), "permission denied for schema modulo")
	next("grant usage on schema app to "+role, "permission denied for schema app", `grant usage on schema "app"`)
	next("grant select (id, sent_at) on app.own to "+role, `may not read "id", "payload"`, `grant select ("id", "payload") on "app"."own" to "`+role+`"`)
	next("grant select (payload) on app.own to "+role, `may not read "payload"`)
	next("grant update (sent_at) on app.own to "+role, "permission denied for table own, needed for done.set", `grant select, update on "app"."own"`)
	next("grant usage on schema modulo to "+role, "permission denied for schema modulo", "grant usage on schema modulo to")
	next("grant select, insert, update on modulo.failures to "+role, "permission denied for table failures")
	next("grant delete on modulo.failures to "+role, "grant select, insert, update, delete on all tables in schema modulo")
	next("grant select, update on modulo.workers to "+role, "permission denied for table workers")
	next("grant select, insert, update, delete on all tables in schema modulo to "+role, "permission denied for table", "needed for ownership")
	wantError(t, db.CheckEpochs(t.Context()), "may not use sequence modulo.epoch", `grant usage on sequence modulo.epoch to "`+role+`"`, "modulo doctor")
	f.exec("grant usage on sequence modulo.epoch to " + role)
	if err := db.CheckEpochs(t.Context()); err != nil {
		t.Error(err)
	}
	source, warnings, err := db.OpenSource(t.Context(), job)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	worker := source.Worker(jobs.Shard{Of: 1})
	wantIDs(t, "fetch", fetch(t, worker), 1)
	park(t, worker, jobs.Failure{RowID: 1, RetryAfter: soon})
	wantIDs(t, "due", due(t, worker), 1)
	if err := worker.Settle(t.Context(), []int64{1}); err != nil {
		t.Error(err)
	}
}

func TestOpenSourceWarns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create table big (id int primary key, payload text, sent_at timestamptz, status text, note int unique);
		insert into big select i, repeat('x', 100), case when i % 100 > 0 then now() end, case when i % 100 > 0 then 'SENT' else 'NEW' end, i
			from generate_series(1, 20000) as i;
		create table parted (id bigint generated always as identity, at date, payload text, sent_at timestamptz, primary key (id, at)) partition by range (at);
		create table parted_1 partition of parted for values from ('2000-01-01') to ('2001-01-01');
		insert into parted (at, payload) select '2000-01-02', repeat('x', 100) from generate_series(1, 20000);
		create table guarded (id int primary key, payload text, sent_at timestamptz);
		insert into guarded values (1);
		create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;
		create trigger refuse before update on guarded for each row execute function refuse();
		analyze`)
	warnings := func(change func(*jobs.Job)) string {
		t.Helper()
		job := tableJob("big")
		change(job)
		_, warnings, err := f.OpenSource(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		texts := make([]string, len(warnings))
		for i, w := range warnings {
			texts[i] = w.Error()
		}
		return strings.Join(texts, "\n")
	}
	want := func(what, got string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q does not say %q", what, got, part)
			}
		}
		if len(parts) == 0 && got != "" {
			t.Errorf("%s: %q", what, got)
		}
	}
	const statement = `create index concurrently on "public"."big" ("id") where (sent_at is null)`
	want("no index", warnings(func(*jobs.Job) {}), "source.table: no index serves the fetch", statement)
	want("criteria with now()", warnings(func(j *jobs.Job) { j.Source.Where = "sent_at is null and now() > '2000-01-01'" }),
		`create index concurrently on "public"."big" ("id") where (the part of source.where that calls no function like now())`)
	want("nullable id", warnings(func(j *jobs.Job) { j.Source.ID = "note" }), "source.id: column note can be null", "set not null")
	byStatus := func(j *jobs.Job) { j.Source.Where, j.Source.DoneSet = "status = 'NEW'", "status = 'SENT'" }
	want("by status", warnings(byStatus), "no index serves")
	f.exec(statement)
	want("with the index", warnings(func(*jobs.Job) {}))
	want("with the index, stricter criteria", warnings(func(j *jobs.Job) { j.Source.Where += " and now() > '2000-01-01'" }))
	f.exec("create index on big (status, id)")
	want("status first", warnings(byStatus))
	want("refused mark", warnings(func(j *jobs.Job) { j.Source.Table = "guarded" }), "done.set: row 1 cannot be marked done: not today")
	parted := func(j *jobs.Job) { j.Source.Table = "parted" }
	want("partitions", warnings(parted), "nothing enforces that it is unique across partitions", "no index serves", `create index on "public"."parted" ("id")`)
	f.exec(`create index on parted (id) where sent_at is null`)
	if got := warnings(parted); strings.Contains(got, "no index") {
		t.Error(got)
	}
}

func TestRowSecurityIsToldOf(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id) values (1); alter table own enable row level security`)
	role := f.role()
	f.exec(fmt.Sprintf("grant select, update on own to %s; grant usage on schema modulo to %s; grant all on all tables in schema modulo to %s", role, role, role))
	_, warnings, err := open(t, store.Config{URL: f.as(role)}).OpenSource(t.Context(), tableJob("own"))
	if err != nil || !slices.ContainsFunc(warnings, func(p *store.Problem) bool { return strings.Contains(p.What, "row-level security is active") }) {
		t.Error(err, warnings)
	}
}

// The trial of the done statement gives up soon where it would have to wait.
func TestOpenSourceOnABusyTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(ownTable + `insert into own (id) values (1); create table busy ();
		create function wait() returns trigger language plpgsql as $$ begin lock table busy; return new; end $$;
		create trigger wait before update on own for each row execute function wait()`)
	other := testservers.Connect(t, f.url)
	if _, err := other.Exec(t.Context(), "begin; lock table busy"); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := f.OpenSource(t.Context(), tableJob("own"))
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "done.set: could not be tried") {
		t.Error(err, warnings)
	}
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into modulo.outbox (payload, created_at) select 'x', now() - interval '1 hour' + i * interval '1 minute' from generate_series(1, 21) as i;
		update modulo.outbox set done_at = now() where id = 5`)
	source := f.source(outboxJob())
	worker := source.Worker(jobs.Shard{Of: 1})
	park(t, worker, jobs.Failure{RowID: 10, Attempts: 8}, jobs.Failure{RowID: 1, Attempts: 1, RetryAfter: 1e9}, jobs.Failure{RowID: 2, Attempts: 9})
	b, err := source.Backlog(t.Context(), 5, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var pending []int
	var oldest []int64
	for _, w := range b.Workers {
		pending, oldest = append(pending, w.Pending), append(oldest, w.OldestID)
	}
	if !slices.Equal(pending, []int{2, 4, 3, 4, 4}) || !slices.Equal(oldest, []int64{15, 6, 7, 3, 4}) {
		t.Errorf("pending %v, oldest %v", pending, oldest)
	}
	if b.Pending() != 17 || b.Failed != 2 || b.Retrying != 1 || !b.Complete || b.Oldest().Round(60e9).Minutes() != 57 {
		t.Errorf("%+v: %d, oldest %v", b, b.Pending(), b.Oldest())
	}
	if b, err = source.Backlog(t.Context(), 5, 10); err != nil || b.Pending() != 10 || b.Complete {
		t.Errorf("limited: %+v, %v", b, err)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`create type phase as enum ('NEW', 'SENT');
		create table invoice (invoice_id bigint primary key, total numeric(10,2) not null, sent_at timestamptz);
		create table flagged (a text, n smallint unique, processed boolean not null default false);
		create table staged (id int primary key, status phase);
		create table texted (id int primary key, status text);
		create table plain (id uuid primary key, sent_at timestamptz not null);
		insert into texted select i, case when i % 2 = 0 then 'pending' else 'done' end from generate_series(1, 100) as i;
		analyze texted`)
	for name, want := range map[string]store.Guess{
		"invoice":       {ID: "invoice_id", Where: "sent_at is null", DoneSet: "sent_at = now()"},
		"flagged":       {ID: "n", Where: "not processed", DoneSet: "processed = true"},
		"staged":        {ID: "id", Where: "status = 'NEW'", DoneSet: "status = 'SENT'"},
		"texted":        {ID: "id", Where: "status = 'pending'", DoneSet: "status = 'done'"},
		"plain":         {},
		"modulo.outbox": {ID: "id", Where: "done_at is null", DoneSet: "done_at = now()"},
	} {
		table, got, err := f.Describe(t.Context(), name)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if name == "invoice" && (table.Schema != "public" || table.Column("total").Type != "numeric(10,2)" || !slices.Equal(table.PrimaryKey, []string{"invoice_id"})) {
			t.Errorf("%+v", table)
		}
	}
	_, _, err := f.Describe(t.Context(), "nothing")
	wantError(t, err, "does not exist")
}
