package main

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"

	"modulo/internal/local"
	"modulo/internal/operations"
	"modulo/internal/testservers"
)

const (
	writerPassword = "wr1ter:p@ss/word"
	ownerPassword  = "0wner-secret"
)

// guardedBroker has a user writer, who may write to queues open.*, and a user owner, who may do everything.
func guardedBroker(t *testing.T) *local.ActiveMQ {
	t.Helper()
	return testservers.OwnBroker(t, local.ActiveMQConfig{
		Users: []local.User{
			{Name: "writer", Password: writerPassword, Groups: "writers"}, {Name: "owner", Password: ownerPassword, Groups: "owners"},
		},
		Permissions: []local.Permission{
			{Name: ">", Read: "owners", Write: "owners", Admin: "owners"},
			{Name: "open.>", Read: "owners", Write: "owners,writers", Admin: "owners,writers"},
			{Topic: true, Name: "ActiveMQ.Advisory.>", Read: "owners,writers", Write: "owners,writers", Admin: "owners,writers"},
		},
	})
}

func withLogin(mq *local.ActiveMQ, user, password string) string {
	return strings.Replace(mq.URL(), "://", "://"+url.UserPassword(user, password).String()+"@", 1)
}

// refusedConfig has jobs that differ in how often and when they try a refused row again.
const refusedConfig = `
jobs:
  patient:
    source: {table: modulo.outbox, where: done_at is null and type = 'patient'}
    retry: {max_attempts: 3, backoff: 1h..2h}
  strict:
    source: {table: modulo.outbox, where: done_at is null and type = 'strict'}
    retry: {max_attempts: 1, backoff: 1h..2h}
  restless:
    source: {table: modulo.outbox, where: done_at is null and type = 'restless'}
    retry: {max_attempts: 1000, backoff: 1ms..2ms}
`

// TestRefusedRows: the broker refuses rows for a queue to which the user may not write. They alone are parked, as often
// and as long as the job says; once the right is there they are delivered.
func TestRefusedRows(t *testing.T) {
	t.Parallel()
	f := fixtureOn(t, testservers.Database(t), guardedBroker(t))
	f.secrets = []string{writerPassword, ownerPassword, url.QueryEscape(writerPassword), url.PathEscape(writerPassword)}
	f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", refusedConfig)
	f.env["MODULO_LOG_LEVEL"] = "debug"
	asWriter, asOwner := withLogin(f.mq, "writer", writerPassword), withLogin(f.mq, "owner", ownerPassword)
	f.exec(`insert into modulo.outbox (destination, type, payload)
		select case when n = 50 then '/queue/closed' else '/queue/open.a' end, type, n
		from generate_series(1, 100) as n, unnest(array['patient', 'strict', 'restless']) as type`)

	a := f.exits(exitFailedRows, "once", "--broker-url", asWriter)
	if pending := one[int](f, pendingSQL); pending != 3 {
		t.Fatalf("%d rows are pending, want the three refused ones\n%s", pending, a.stderr)
	}
	f.checkRefused("patient", "retrying")
	f.checkRefused("strict", "failed")
	f.checkRefused("restless", "retrying")

	f.ok("once", "--broker-url", asOwner)
	if left := one[string](f, "select string_agg(type, ' ' order by type) from modulo.outbox where done_at is null"); left != "patient strict" {
		t.Errorf("rows pending with the right given: %s", left)
	}
	f.ok("rows", "retry", "patient", "--class", "refused", "--yes")
	f.ok("rows", "retry", "strict", "--state", "failed", "--yes")
	f.ok("once", "--broker-url", asOwner)
	owner := stomp.ConnOpt.Login("owner", ownerPassword)
	types := headers(take(t, f.mq, "/queue/closed", owner), "type")
	slices.Sort(types)
	if !slices.Equal(types, []string{"patient", "restless", "strict"}) {
		t.Errorf("delivered to the closed queue: %v", types)
	}
	if open := take(t, f.mq, "/queue/open.a", owner); len(open) != 297 {
		t.Errorf("%d messages in the open queue, want 297", len(open))
	}

	f.refuses(exitUsage, []string{"connect"}, "once", "--broker-url", withLogin(f.mq, "writer", "guess"))
	f.checkDoctor(asWriter, asOwner)
}

// checkDoctor: a login without rights on the tokens, which exist by now, is told apart from one that is wrong.
func (f *fixture) checkDoctor(asWriter, asOwner string) {
	f.t.Helper()
	told := f.exits(exitDoctor, "doctor", "--broker-url", asWriter).stdout
	for _, words := range []string{
		"FAIL  token-rights: the login is refused access to a token queue", "WARN  canary: the login is refused access to /queue/modulo.token.canary",
		"-> give it read, write and admin on modulo.token.>",
	} {
		if !strings.Contains(told, words) {
			f.t.Errorf("no %q in:\n%s", words, told)
		}
	}
	told = f.exits(exitDoctor, "doctor", "--broker-url", withLogin(f.mq, "writer", "guess")).stdout
	if !strings.Contains(told, "FAIL  login:") || strings.Contains(told, "canary") {
		f.t.Errorf("a wrong password:\n%s", told)
	}
	if told := f.ok("doctor", "--broker-url", asOwner); !strings.Contains(told, "came back in") {
		f.t.Errorf("no canary:\n%s", told)
	}
}

// TestDeniedJob: all rows of a job go to a queue to which the login may not write. That is no fault of theirs: they stay as
// they are until the right is there.
func TestDeniedJob(t *testing.T) {
	t.Parallel()
	for _, confirm := range []string{"transaction", "receipt"} {
		t.Run(confirm, func(t *testing.T) {
			t.Parallel()
			f := fixtureOn(t, testservers.Database(t), guardedBroker(t))
			f.env["MODULO_CONFIG"] = write(t, "modulo.yaml", `
jobs:
  closed:
    source: {table: modulo.outbox}
    message: {destination: /queue/closed}
    retry: {max_attempts: 1}
`)
			f.exec(`insert into modulo.outbox (payload) select 'event ' || n from generate_series(1, 20) as n`)
			f.refuses(exitUsage, []string{"not authorized to write to: queue://closed"},
				"once", "--confirm", confirm, "--broker-url", withLogin(f.mq, "writer", writerPassword))
			if records := one[int](f, "select count(*) from modulo.failures"); records != 0 {
				t.Errorf("%d rows are blamed", records)
			}
			f.ok("once", "--confirm", confirm, "--broker-url", withLogin(f.mq, "owner", ownerPassword))
			if got := take(t, f.mq, "/queue/closed", stomp.ConnOpt.Login("owner", ownerPassword)); len(got) != 20 {
				t.Errorf("%d messages, want 20", len(got))
			}
		})
	}
}

// checkRefused looks at the one failed row of a job.
func (f *fixture) checkRefused(job, state string) {
	f.t.Helper()
	var lines []operations.Failure
	if err := json.Unmarshal([]byte(f.ok("rows", "list", job, "-o", "json")), &lines); err != nil {
		f.t.Fatal(err)
	}
	if len(lines) != 1 {
		f.t.Fatalf("failed rows of %s: %+v", job, lines)
	}
	l := lines[0]
	if string(l.State) != state || l.Class != "refused" || l.Attempts < 1 || l.Delivered || !strings.Contains(l.Error, "not authorized to write") {
		f.t.Errorf("failed row of %s: %+v", job, l)
	}
	if job == "restless" {
		return
	}
	if l.Attempts != 1 {
		f.t.Errorf("%s: %d attempts within one pass", job, l.Attempts)
	}
	if state == "failed" {
		if l.NextAttempt != nil {
			f.t.Errorf("%s: tried again at %s, though its attempts are used up", job, l.NextAttempt)
		}
		return
	}
	if pause := l.NextAttempt.Sub(l.LastAt); pause < 59*time.Minute || pause > 2*time.Hour {
		f.t.Errorf("%s: tried again after %s, want the configured range", job, pause)
	}
}
