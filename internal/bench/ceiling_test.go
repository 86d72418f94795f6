package bench

import (
	"bufio"
	"bytes"
	"net"
	"testing"

	"modulo/broker/stomp"
	"modulo/internal/config"
	"modulo/jobs"
)

// TestCeilingSendsWhatModuloSends: the ceiling is that of the same bytes, to the last one.
func TestCeilingSendsWhatModuloSends(t *testing.T) {
	t.Parallel()
	for _, confirm := range []string{Transaction, Receipt} {
		t.Run(confirm, func(t *testing.T) {
			t.Parallel()
			c := &ceiling{stage: &stage{name: "test"}, Case: &Case{Kind: Ceiling, Workers: 5, Confirm: confirm, Batch: 3, Payload: 20}}
			const worker, rows = 2, 15
			events := c.events(worker, rows)
			if err := c.fill(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
			var want []byte
			for _, p := range c.batches[worker] {
				want = append(want, p.bytes...)
			}
			if got := published(t, confirm, events); !bytes.Equal(got, want) {
				t.Errorf("Modulo sends\n%q\nthe ceiling\n%q", got, want)
			}
		})
	}
}

// published is what Modulo's own publisher writes for the events as rows of the outbox.
func published(t *testing.T, confirm string, events []event) []byte {
	t.Helper()
	c, err := config.Load("", func(string) (string, bool) { return "", false }, config.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	job := c.JobList()[0]
	builder, err := jobs.NewBuilder(job, jobs.Shard{Number: events[0].worker, Of: events[0].of, Epoch: ceilingEpoch})
	if err != nil {
		t.Fatal(err)
	}
	var batch jobs.Batch
	for _, e := range events {
		values := map[string][]byte{"destination": []byte(e.destination), "event_id": []byte(e.id)}
		row := jobs.Row{ID: e.row, Payload: e.payload}
		for _, column := range job.Message.Fields() {
			row.Fields = append(row.Fields, values[column])
		}
		batch.Rows = append(batch.Rows, row)
	}
	messages, failures := builder.Build(batch)
	if len(failures) > 0 {
		t.Fatal(failures)
	}
	address, written := recorder(t)
	broker, err := stomp.New(stomp.Config{Hosts: []stomp.Host{{Address: address}}, Confirm: stomp.Confirm(confirm)})
	if err != nil {
		t.Fatal(err)
	}
	publisher := broker.Publisher(nil)
	if _, err := publisher.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := publisher.Publish(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
	_ = publisher.Close() // the recorder hangs up
	return <-written
}

// recorder is a broker that confirms everything and keeps what it was sent after the login.
func recorder(t *testing.T) (address string, written <-chan []byte) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	all := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return // the test has ended
		}
		defer conn.Close()
		text, err := record(conn)
		if err != nil {
			t.Error(err)
		}
		all <- text
	}()
	return listener.Addr().String(), all
}

func record(conn net.Conn) (text []byte, err error) {
	in := bufio.NewReader(conn)
	if _, err := in.ReadBytes(0); err != nil {
		return nil, err
	}
	answer := []byte("CONNECTED\nversion:1.2\nserver:ActiveMQ/5.17.2\nheart-beat:0,0\n\n\x00\n")
	for {
		if _, err := conn.Write(answer); err != nil {
			return text, err
		}
		frame, err := in.ReadBytes(0)
		if err != nil || bytes.HasPrefix(frame, []byte("DISCONNECT\n")) {
			return text, err // the goodbye stays without an answer
		}
		text, answer = append(text, frame...), nil
		if _, after, asked := bytes.Cut(frame, []byte("\nreceipt:")); asked {
			id, _, _ := bytes.Cut(after, []byte("\n"))
			answer = []byte("RECEIPT\nreceipt-id:" + string(id) + "\n\n\x00\n")
		}
	}
}
