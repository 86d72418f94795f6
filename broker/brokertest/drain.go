package brokertest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-stomp/stomp/v3/frame"
)

// Received is a message as an independent consumer sees it.
type Received struct {
	Headers map[string]string
	Body    []byte
	Binary  bool // came with a content-length, which ActiveMQ gives to a BytesMessage only
}

// Text is the body.
func (r Received) Text() string { return string(r.Body) }

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// Queue returns a destination of the test's own.
func Queue(t testing.TB) string {
	return "/queue/" + notInNames.ReplaceAllString(t.Name(), ".") + "." + strings.ToLower(rand.Text()[:8])
}

// patience is how long a test waits for a broker, also on a machine that is busy with other tests.
const patience = time.Minute

// Drain takes everything that is in a queue. It sends a message of its own behind and reads up to that, so there is
// nothing to wait for and a surplus shows.
func (target Target) Drain(t testing.TB, destination string) []Received {
	t.Helper()
	end := rand.Text()
	var all []Received
	err := target.connected(func(c *consumer) error {
		// persistent like the others: ActiveMQ keeps the order within one kind only
		err := errors.Join(
			c.write(frame.SEND, frame.Destination, destination, "persistent", "true", "end", end, frame.Receipt, "end"),
			c.receipt("end"),
			c.write(frame.SUBSCRIBE, frame.Destination, destination, frame.Id, "0", frame.Ack, frame.AckAuto))
		for err == nil && (len(all) == 0 || all[len(all)-1].Headers["end"] != end) {
			var r Received
			r, err = c.message()
			all = append(all, r)
		}
		return err
	})
	if err != nil {
		t.Fatalf("draining %s, after %d messages: %v", destination, len(all), err)
	}
	return slices.DeleteFunc(all, func(r Received) bool { return r.Headers["end"] != "" })
}

// Take takes n messages from a queue of ActiveMQ, also of one that has no room for the message that Drain sends.
func (target Target) Take(t testing.TB, destination string, n int) []Received {
	t.Helper()
	var all []Received
	err := target.connected(func(c *consumer) error {
		err := c.write(frame.SUBSCRIBE, frame.Destination, destination, frame.Id, "0", frame.Ack, frame.AckClientIndividual)
		for err == nil && len(all) < n {
			var r Received
			r, err = c.message()
			all = append(all, r)
			err = errors.Join(err, c.write(frame.ACK, frame.Id, r.Headers[frame.Ack]))
		}
		return err
	})
	if err != nil {
		t.Fatalf("taking %d messages from %s, after %d: %v", n, destination, len(all), err)
	}
	return all
}

// Browse returns the messages of a queue of ActiveMQ and leaves them there.
func (target Target) Browse(t testing.TB, destination string) (all []Received) {
	t.Helper()
	err := target.connected(func(c *consumer) error {
		if err := c.write(frame.SUBSCRIBE, frame.Destination, destination, frame.Id, "0", frame.Ack, frame.AckAuto, "browser", "true"); err != nil {
			return err
		}
		for {
			r, err := c.message()
			if err != nil || r.Headers["browser"] == "end" {
				return err
			}
			all = append(all, r)
		}
	})
	if err != nil {
		t.Fatalf("browsing %s, after %d messages: %v", destination, len(all), err)
	}
	return all
}

// said is a frame for an error message.
func said(f *frame.Frame) string {
	if f == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s %s %.300s", f.Command, f.Header.Get(frame.Message), f.Body)
}

func received(f *frame.Frame) Received {
	r := Received{Headers: map[string]string{}, Body: f.Body}
	for i := range f.Header.Len() {
		name, value := f.Header.GetAt(i)
		if _, known := r.Headers[name]; !known {
			r.Headers[name] = value
		}
	}
	if _, r.Binary = r.Headers[frame.ContentLength]; !r.Binary {
		r.Body = joinSurrogates(r.Body)
	}
	return r
}

// joinSurrogates turns Java's modified UTF-8 into UTF-8. ActiveMQ Classic keeps texts so, and hands them to STOMP clients
// as they are.
func joinSurrogates(text []byte) []byte {
	var joined []byte
	for rest := text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && len(rest) >= 6 {
			if pair := utf16.DecodeRune(surrogate(rest), surrogate(rest[3:])); pair != utf8.RuneError {
				r, size = pair, 6
			}
		}
		if size == 1 {
			joined = append(joined, rest[0])
		} else {
			joined = utf8.AppendRune(joined, r)
		}
		rest = rest[size:]
	}
	return joined
}

// surrogate decodes three bytes without a look at what UTF-8 allows.
func surrogate(b []byte) rune {
	return rune(b[0]&0x0F)<<12 | rune(b[1]&0x3F)<<6 | rune(b[2]&0x3F)
}

// consumer is a plain STOMP client, built on go-stomp's frames and on nothing of the adapter under test.
type consumer struct {
	net net.Conn
	r   *frame.Reader
	w   *frame.Writer
}

// connected runs f on a connection of its own and says goodbye.
func (target Target) connected(f func(*consumer) error) error {
	conn, err := net.DialTimeout("tcp", target.Addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := &consumer{conn, frame.NewReader(conn), frame.NewWriter(conn)}
	if err := c.write(frame.CONNECT, frame.AcceptVersion, "1.2", frame.Host, "/",
		frame.Login, target.Username, frame.Passcode, target.Password); err != nil {
		return err
	}
	if answer, err := c.read(); err != nil || answer.Command != frame.CONNECTED {
		return fmt.Errorf("answer to CONNECT: %s, %w", said(answer), err)
	}
	if err := f(c); err != nil {
		return err
	}
	return errors.Join(c.write(frame.DISCONNECT, frame.Receipt, "bye"), c.receipt("bye"))
}

func (c *consumer) write(command string, headers ...string) error {
	if err := c.net.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return c.w.Write(frame.New(command, headers...))
}

// read returns the next frame and skips heart-beats.
func (c *consumer) read() (*frame.Frame, error) {
	if err := c.net.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for {
		if f, err := c.r.Read(); f != nil || err != nil {
			return f, err
		}
	}
}

// message reads the next message.
func (c *consumer) message() (Received, error) {
	f, err := c.read()
	if err != nil {
		return Received{}, err
	}
	if f.Command != frame.MESSAGE {
		return Received{}, errors.New(said(f))
	}
	return received(f), nil
}

// receipt reads up to a receipt. Messages before it are left to the next consumer, if they need to be acknowledged.
func (c *consumer) receipt(id string) error {
	for {
		f, err := c.read()
		switch {
		case err != nil:
			return fmt.Errorf("waiting for receipt %s: %w", id, err)
		case f.Command == frame.RECEIPT && f.Header.Get(frame.ReceiptId) == id:
			return nil
		case f.Command != frame.MESSAGE:
			return fmt.Errorf("waiting for receipt %s: %s", id, said(f))
		}
	}
}
