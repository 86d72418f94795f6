package main

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"modulo/internal/testservers"
)

var (
	javaBlock   = regexp.MustCompile("(?s)```java\n(.*?)```")
	publicClass = regexp.MustCompile(`public (?:final )?class (\w+)`)
)

// recipes are the Java programs of docs/consumers.md, by class.
func recipes(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/consumers.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	for _, block := range javaBlock.FindAllStringSubmatch(string(text), -1) {
		sources[publicClass.FindStringSubmatch(block[1])[1]] = block[1]
	}
	return sources
}

// jdbc is a database's URL for Java.
func jdbc(t *testing.T, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return fmt.Sprintf("jdbc:postgresql://%s%s?user=%s&password=%s", u.Host, u.Path, u.User.Username(), url.QueryEscape(password))
}

// The consumer of docs/consumers.md handles each event once, although all of them are sent twice, and goes on after one that
// it cannot handle the first time.
func TestConsumerRecipe(t *testing.T) {
	t.Parallel()
	const rows = 200
	f := newFixture(t)
	f.exec(`create table consumed_events (event_id text primary key, consumed_at timestamptz not null default now());
		create table booked (event_id text, invoice text);
		create sequence tries;
		create function stumble() returns trigger language plpgsql as $$ begin
			if new.invoice = '7' and nextval('tries') = 1 then raise exception 'not now'; end if;
			return new;
		end $$;
		create trigger stumble before insert on booked for each row execute function stumble()`)
	f.exec("insert into modulo.outbox (destination, payload) select $1, n from generate_series(1, $2::int) as n", f.queue, rows)
	f.ok("once")
	f.exec("update modulo.outbox set done_at = null") // as after a restore
	f.ok("once")
	program := testservers.Java{Jars: []string{"postgresql"}, Sources: map[string]string{"InvoiceConsumer": recipes(t)["InvoiceConsumer"]}}
	program.Run(t, "InvoiceConsumer", "MQ_URL="+f.mq.OpenWireURL(), "JDBC_URL="+jdbc(t, f.db.Config().ConnString()),
		"QUEUE="+strings.TrimPrefix(f.queue, "/queue/"))
	if booked := one[string](f, "select count(*) || ' of ' || count(distinct invoice) from booked"); booked != fmt.Sprintf("%d of %d", rows, rows) {
		t.Errorf("booked %s events, want each of %d once", booked, rows)
	}
	if left := f.taken(f.queue); len(left) > 0 {
		t.Errorf("%d messages left", len(left))
	}
}

// The listener for Spring compiles against what Debian has.
func TestSpringRecipe(t *testing.T) {
	t.Parallel()
	sources := recipes(t)
	testservers.Java{
		Sources: map[string]string{"InvoiceListener": sources["InvoiceListener"], "JmsConfiguration": sources["JmsConfiguration"]},
		Jars: []string{"spring3-jms", "spring3-messaging", "spring3-jdbc", "spring3-transaction", "spring3-context", "spring3-core",
			"spring3-beans"},
	}.Compile(t)
}
