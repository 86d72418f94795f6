package brokertest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

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

// patience is how long a consumer waits for a broker.
const patience = 30 * time.Second

// Drain takes everything that is in a queue. It sends a message of its own behind and reads up to that, so there is
// nothing to wait for and a surplus shows.
func (target Target) Drain(t testing.TB, destination string) []Received {
	t.Helper()
	received, err := target.drain(destination)
	if err != nil {
		t.Fatalf("draining %s: %v", destination, err)
	}
	return received
}

func (target Target) drain(destination string) ([]Received, error) {
	c, err := target.connect()
	if err != nil {
		return nil, err
	}
	defer c.net.Close()
	end := rand.Text()
	err = errors.Join(
		c.write(frame.SEND, frame.Destination, destination, "end", end, frame.Receipt, "end"),
		c.receipt("end"),
		c.write(frame.SUBSCRIBE, frame.Destination, destination, frame.Id, "0", frame.Ack, frame.AckAuto),
	)
	if err != nil {
		return nil, err
	}
	var all []Received
	for {
		f, err := c.read()
		if err != nil {
			return nil, fmt.Errorf("after %d messages: %w", len(all), err)
		}
		if f.Command != frame.MESSAGE {
			return nil, fmt.Errorf("after %d messages: %s", len(all), said(f))
		}
		if f.Header.Get("end") == end {
			return all, errors.Join(c.write(frame.DISCONNECT, frame.Receipt, "bye"), c.receipt("bye"))
		}
		if _, stale := f.Header.Contains("end"); !stale { // the end of a Drain that failed
			all = append(all, received(f))
		}
	}
}

// said is a frame for an error message.
func said(f *frame.Frame) string {
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
	_, r.Binary = r.Headers[frame.ContentLength]
	return r
}

// consumer is a plain STOMP client, built on go-stomp's frames and on nothing of the adapter under test.
type consumer struct {
	net net.Conn
	r   *frame.Reader
	w   *frame.Writer
}

func (target Target) connect() (*consumer, error) {
	conn, err := net.DialTimeout("tcp", target.Addr, patience)
	if err != nil {
		return nil, err
	}
	c := &consumer{conn, frame.NewReader(conn), frame.NewWriter(conn)}
	err = c.write(frame.CONNECT, frame.AcceptVersion, "1.2", frame.Host, "/",
		frame.Login, target.Username, frame.Passcode, target.Password)
	if err == nil {
		var f *frame.Frame
		if f, err = c.read(); err == nil && f.Command != frame.CONNECTED {
			err = fmt.Errorf("answer to CONNECT: %s", said(f))
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
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

func (c *consumer) receipt(id string) error {
	f, err := c.read()
	if err == nil && (f.Command != frame.RECEIPT || f.Header.Get(frame.ReceiptId) != id) {
		err = fmt.Errorf("waiting for receipt %s: %s", id, said(f))
	}
	return err
}
