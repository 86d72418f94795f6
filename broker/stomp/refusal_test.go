package stomp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/brokertest"
	"modulo/broker/stomp"
	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// Cases 9, 10 and 18: a user of ActiveMQ who may write to some queues and not to others.
func TestForbiddenQueue(t *testing.T) {
	t.Parallel()
	mq := testservers.OwnBroker(t, local.ActiveMQConfig{
		Users: []local.User{{Name: "app", Password: "app", Groups: "apps"}, {Name: "admin", Password: "admin", Groups: "admins"}},
		Permissions: []local.Permission{
			{Name: ">", Read: "admins", Write: "admins", Admin: "admins"},
			{Name: "open.>", Read: "admins", Write: "admins,apps", Admin: "admins,apps"},
			{Name: "kept.>", Read: "admins,apps", Write: "admins", Admin: "admins,apps"},
			{Topic: true, Name: ">", Read: "admins,apps", Write: "admins,apps", Admin: "admins,apps"},
		},
	})
	const forbidden = 7
	forStrategiesInTurn(t, func(t *testing.T, cfg stomp.Config) {
		addr := address(mq.URL())
		broker := target(addr, cfg)
		broker.Username, broker.Password = "admin", "admin"
		cfg.Hosts = []stomp.Host{{Address: addr, Username: "app", Password: "app"}}
		b, err := stomp.New(patient(cfg))
		if err != nil {
			t.Fatal(err)
		}
		p := b.Publisher(nil)
		defer p.Close()
		if err := brokertest.Connect(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		queue := strings.Replace(brokertest.Queue(t), "/queue/", "/queue/open.", 1)
		messages := brokertest.Texts(queue, "row ", 20)
		messages[forbidden].Destination = "/queue/closed"
		failed := publishFails(t, soon, p, messages)
		if failed.Fault != jobs.FaultMessage || !strings.Contains(failed.Error(), "not authorized to write to: queue://closed") || !failed.Denied {
			t.Errorf("%+v", failed)
		}
		good := slices.Delete(slices.Clone(messages), forbidden, forbidden+1)
		if p.Atomic() {
			if len(failed.Confirmed)+len(failed.Refused) > 0 {
				t.Errorf("%+v", failed)
			}
			good = nil
		} else if len(failed.Refused) != 1 || failed.Refused[0].Index != forbidden || len(failed.Confirmed) != len(good) {
			t.Errorf("%+v", failed)
		}
		if err := brokertest.Connect(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		after := brokertest.Texts(queue, "after ", 1)
		if err := p.Publish(t.Context(), after, nil); err != nil {
			t.Error(err)
		}
		brokertest.SameTexts(t, broker.Drain(t, queue), append(good, after...))
	})
	// The same user may not make a token: where none is required, the worker goes on without, and says so.
	wantWithout(t, address(mq.URL()), stomp.Config{}, "not authorized")
	wantDenied(t, address(mq.URL()))
}

// wantDenied: a login that may no longer write its token is told so. No message is to blame.
func wantDenied(t *testing.T, addr string) {
	t.Helper()
	shared, queue := newLineage(), strings.Replace(brokertest.Queue(t), "/queue/", "/queue/open.", 1)
	publisher := func(user string) jobs.Publisher {
		b, err := stomp.New(patient(stomp.Config{Hosts: []stomp.Host{{Address: addr, Username: user, Password: user}}, TokenPrefix: "kept."}))
		if err != nil {
			t.Fatal(err)
		}
		return b.Publisher(&stomp.TokenConfig{Job: "outbox", Shard: jobs.Shard{Of: 1}, Lineage: shared})
	}
	admin, app := publisher("admin"), publisher("app")
	if err := brokertest.Connect(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if err := admin.Close(); err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	if err := brokertest.Connect(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	publishFails(t, soon, app, brokertest.Texts(queue, "row ", 1))
	_, err := app.Connect(t.Context())
	if failed := brokertest.ConnectFailed(t, err); failed.Fault != jobs.FaultConfiguration || !strings.Contains(shared.noted(), "no access to the token queue") {
		t.Errorf("%s: %v, reported %q", failed.Fault, failed, shared.noted())
	}
}

// What an ERROR means for the batch, by when it comes and what it says.
func TestErrorInTransaction(t *testing.T) {
	t.Parallel()
	const (
		forbidden = "ERROR\nmessage:no\n\njava.lang.SecurityException: no\n\tat a.b(c)\n\x00"
		full      = "ERROR\nmessage:x\n\njavax.transaction.xa.XAException: COMMIT FAILED\n\tat a.b(c)\n" +
			"Caused by: javax.jms.ResourceAllocationException: Usage Manager Store is Full\n\x00"
		broken   = "ERROR\nreceipt-id:%s\nmessage:x\n\njava.io.IOException: disk\n\x00"
		rollback = "ERROR\nreceipt-id:%s\nmessage:x\n\njavax.transaction.xa.XAException: COMMIT FAILED\n\x00"
	)
	for _, test := range []struct {
		name, answer string // to COMMIT, whose receipt is %s
		fault        jobs.Fault
		want         string
	}{
		{"before the rollback", forbidden + rollback, jobs.FaultMessage, "COMMIT FAILED"},
		{"and a receipt all the same", forbidden + "RECEIPT\nreceipt-id:%s\n\n\x00", jobs.FaultConnection, "SecurityException: no"},
		{"and the end", forbidden, jobs.FaultConnection, "SecurityException: no"},
		{"no room", strings.Replace(full, "ERROR\n", "ERROR\nreceipt-id:%s\n", 1), jobs.FaultBroker, "Store is Full"},
		{"no disk", broken, jobs.FaultConnection, "IOException: disk"},
		{"rolled back", rollback, jobs.FaultMessage, "COMMIT FAILED"},
		{"unknown", "ERROR\nreceipt-id:%s\nmessage:computer says no\n\n\x00", jobs.FaultMessage, "computer says no"},
		{"for another receipt", "ERROR\nreceipt-id:0\nmessage:no\n\n\x00", jobs.FaultConnection, "no"},
		{"empty", "ERROR\n\n\x00", jobs.FaultConnection, "broker answers"},
		{"huge", "ERROR\nmessage:no\n\n" + strings.Repeat("x", 2<<20) + "\x00", jobs.FaultConnection, "no"},
		{"with control characters", "ERROR\nmessage:a\\nb\x1b[31mc\n\n\x00", jobs.FaultConnection, "a b [31mc"},
		{"with the message", "ERROR\nmessage:AMQ339011 Error sending message CoreMessage[messageID=1, secret]\n\n\x00", jobs.FaultConnection, "sending message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr, _ := fakeBroker(t, func(c *fake) {
				c.accept(classic)
				f := c.until(frame.COMMIT)
				c.say(strings.ReplaceAll(test.answer, "%s", f.Header.Get(frame.Receipt)))
			})
			p := target(addr, stomp.Config{}).Connected(t, addr)
			failed := publishFails(t, soon, p, brokertest.Texts("/queue/a", "row ", 3))
			if failed.Fault != test.fault || !strings.Contains(failed.Error(), test.want) || len(failed.Confirmed)+len(failed.Refused) > 0 {
				t.Errorf("%+v", failed)
			}
			if strings.Contains(failed.Error(), "secret") {
				t.Error("the error shows the message:", failed)
			}
			if len(failed.Error()) > 1500 {
				t.Errorf("an error of %d bytes", len(failed.Error()))
			}
		})
	}
}

// Case 10: an ERROR while the batch is still being written ends the writing; without COMMIT nothing is stored.
func TestErrorBeforeCommit(t *testing.T) {
	t.Parallel()
	addr, ended := fakeBroker(t, func(c *fake) {
		c.accept(classic)
		c.until(frame.SEND)
		c.say("ERROR\nmessage:no\n\n\x00")
		for f := c.next(); f != nil; f = c.next() {
			if f.Command == frame.COMMIT {
				t.Error("a COMMIT after an ERROR")
			}
		}
		c.wait()
	})
	p := target(addr, stomp.Config{}).Connected(t, addr)
	messages := brokertest.Texts("/queue/a", "row ", 1000) // many times what buffers hold: who writes has to wait, and others can listen
	for i := range messages {
		messages[i].Body = []byte(strings.Repeat("x", 60_000))
	}
	failed := publishFails(t, soon, p, messages)
	if failed.Fault != jobs.FaultMessage || !strings.Contains(failed.Error(), "no") {
		t.Errorf("%+v", failed)
	}
	mustReset(t, ended)
}

// Cases 9 and 11 with a receipt for each message.
func TestErrorInWindow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name               string
		answers            []string // to the messages in turn; %s is the receipt; a nil rest is silence
		closes             bool
		fault              jobs.Fault
		confirmed, refused []int
	}{
		{"one refused", []string{"ok", "ERROR\nreceipt-id:%s\nmessage:no\n\n\x00", "ok"}, false, jobs.FaultMessage, []int{0, 2}, []int{1}},
		{"two refused", []string{"no", "ok", "no"}, false, jobs.FaultMessage, []int{1}, []int{0, 2}},
		{"refused, then closed", []string{"ok", "no"}, true, jobs.FaultMessage, []int{0}, []int{1}},
		{"refused, then silence", []string{"ok", "no"}, false, jobs.FaultConnection, []int{0}, []int{1}},
		{"no room for one", []string{"ok", "full", "ok"}, false, jobs.FaultBroker, []int{0, 2}, nil},
		{"no room and no", []string{"full", "no", "ok"}, false, jobs.FaultBroker, []int{2}, []int{1}},
		{"no disk for one", []string{"ok", "disk", "ok"}, false, jobs.FaultConnection, []int{0, 2}, nil},
		{"without a receipt", []string{"ok", "ERROR\nmessage:no\n\n\x00"}, true, jobs.FaultConnection, []int{0}, nil},
		{"closed", []string{"ok"}, true, jobs.FaultConnection, []int{0}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr, _ := fakeBroker(t, func(c *fake) {
				c.accept(artemis)
				for _, answer := range test.answers {
					f := c.until(frame.SEND)
					if f == nil {
						return
					}
					c.say(strings.ReplaceAll(answerOf(answer), "%s", f.Header.Get(frame.Receipt)))
				}
				if !test.closes {
					c.wait()
				}
			})
			cfg := stomp.Config{Window: 3}
			if strings.Contains(test.name, "silence") {
				cfg.ReceiptTimeout = deadline
			}
			p := target(addr, cfg).Connected(t, addr)
			failed := publishFails(t, soon, p, brokertest.Texts("/queue/a", "row ", 3))
			var refused []int
			for _, r := range failed.Refused {
				refused = append(refused, r.Index)
				if !strings.Contains(r.Reason, "no") {
					t.Errorf("reason %q", r.Reason)
				}
			}
			if failed.Fault != test.fault || !slices.Equal(failed.Confirmed, test.confirmed) || !slices.Equal(refused, test.refused) {
				t.Errorf("%+v", failed)
			}
		})
	}
}

func answerOf(word string) string {
	switch word {
	case "ok":
		return "RECEIPT\nreceipt-id:%s\n\n\x00\n"
	case "no":
		return "ERROR\nreceipt-id:%s\nmessage:no\n\n\x00\n"
	case "full":
		return "ERROR\nreceipt-id:%s\nmessage:AMQ229102: Address \"a\" is full.\n\n\x00\n"
	case "disk":
		return "ERROR\nreceipt-id:%s\nmessage:x\n\njava.io.IOException: disk\n\x00\n"
	}
	return word
}

// An ERROR while nothing is sent is about the connection: the next Connect opens a new one.
func TestErrorWhileIdle(t *testing.T) {
	t.Parallel()
	connections := make(chan int, 2)
	connections <- 1
	addr, ended := fakeBroker(t, func(c *fake) {
		n := <-connections
		connections <- n + 1
		c.accept(classic)
		if n == 1 {
			c.say("ERROR\nmessage:shutting down\n\n\x00")
		} else {
			c.receipt(awaitReceiptWish(c))
		}
		c.wait()
	})
	p := target(addr, stomp.Config{}).Connected(t, addr)
	mustReset(t, ended)
	if err := brokertest.Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), brokertest.Texts("/queue/a", "row ", 1), nil); err != nil {
		t.Error(fmt.Errorf("on the second connection: %w", err))
	}
}
