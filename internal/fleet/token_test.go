package fleet

import (
	"net/url"
	"strings"
	"testing"

	"github.com/go-stomp/stomp/v3"
)

// A change of K after the only instance was killed: once reads the tokens of the old workers before it begins with the
// new ones, and sends nothing twice.
func TestOnceAfterAKillAndAChangeOfK(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shortLease, tick)
	victim := f.run(f.url, "--workers", "4")
	f.awaitShared(4, 1)
	f.awaitRows(150)
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	f.load.stop()
	f.command("workers", "set", "outbox", "7")
	f.await("the lease is over", "select not exists (select from modulo.instances where expires_at > clock_timestamp())")
	f.command("once", "--broker-url", f.brokerURL)
	f.await("7 workers", "select workers = 7 from modulo.jobs")
	f.finish(0)
}

// A token that is gone stops its worker, and nobody else, until a person has it made anew.
func TestLostTokenIsMadeAnewByHand(t *testing.T) {
	t.Parallel()
	f := newFleet(t, longLease, tick)
	running := f.run(f.url, "--workers", "3")
	f.awaitShared(3, 1)
	f.awaitRows(50)
	if err := running.Stop(patience); err != nil {
		t.Fatal(err)
	}
	f.purge("outbox", 1)
	f.run(f.url, "--workers", "3")
	f.await("the loss is noticed", "select exists (select from modulo.tokens where number = 1 and problem like 'the token is gone%')")
	f.awaitRows(150) // from the others
	if out := f.command("status"); !strings.Contains(out, "token trouble") {
		t.Errorf("status:\n%s", out)
	}
	if out := f.command("workers", "list", "outbox"); !strings.Contains(out, "the token is gone") {
		t.Errorf("workers list:\n%s", out)
	}
	if out := f.command("workers", "reset-token", "outbox"); !strings.Contains(out, "1 tokens would be made anew") {
		t.Errorf("reset-token without --yes:\n%s", out)
	}
	f.command("workers", "reset-token", "outbox", "1", "--yes")
	f.await("no problem is left", "select not exists (select from modulo.tokens where problem is not null or not made)")
	f.finish(0)
}

// purge takes the token of a worker out of its queue.
func (f *fleet) purge(job string, worker int) {
	f.t.Helper()
	var name string
	if err := f.db.QueryRow(f.t.Context(), `select format('/queue/modulo.token.%s.%s.%s', job, number, lineage)
		from modulo.tokens where job = $1 and number = $2`, job, worker).Scan(&name); err != nil {
		f.t.Fatal(err)
	}
	address, err := url.Parse(f.brokerURL)
	if err != nil {
		f.t.Fatal(err)
	}
	conn, err := stomp.Dial("tcp", address.Host)
	if err != nil {
		f.t.Fatal(err)
	}
	subscription, err := conn.Subscribe(name, stomp.AckClientIndividual)
	if err != nil {
		f.t.Fatal(err)
	}
	message := <-subscription.C
	if message.Err != nil {
		f.t.Fatal(message.Err)
	}
	if err := conn.Ack(message); err != nil {
		f.t.Fatal(err)
	}
	if err := conn.Disconnect(); err != nil {
		f.t.Fatal(err)
	}
}
