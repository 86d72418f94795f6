package testservers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"modulo/internal/local"
)

// Delivered is a message as ActiveMQ's own Java client shows it.
type Delivered struct {
	Destination   string `json:"destination"` // as in "queue://modulo.events"
	Class         string `json:"class"`       // as in "TextMessage"
	Persistent    bool   `json:"persistent"`
	Redelivered   bool   `json:"redelivered"`
	Priority      int    `json:"priority"`
	Expiration    int64  `json:"expiration"` // milliseconds since 1970; 0: never
	Timestamp     int64  `json:"timestamp"`  // milliseconds since 1970
	MessageID     string `json:"message_id"`
	CorrelationID string `json:"correlation_id"`
	Type          string `json:"type"`     // JMSType
	GroupID       string `json:"group_id"` // JMSXGroupID
	ReplyTo       string `json:"reply_to"`
	Text          string `json:"text"`       // of a TextMessage
	Bytes         []byte `json:"bytes"`      // of a BytesMessage
	Unreadable    string `json:"unreadable"` // why the Java client itself could not read the body
	// Properties are those the message sets itself, without the JMSX ones.
	Properties map[string]Property `json:"properties"`
}

// Property is a JMS property: its Java class, as in "String", and its value as text.
type Property struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Property is the value of a property; empty if the message does not have it.
func (d Delivered) Property(name string) string { return d.Properties[name].Value }

// Consumption says what to take from a broker. Only URL and Queues are required.
type Consumption struct {
	URL            string // for OpenWire, see local.ActiveMQ.OpenWireURL
	Queues         []string
	User, Password string
	Expected       int // how many messages to wait for, up to a minute from one to the next
}

// Consume takes the expected number of messages from a queue, and then what else comes within half a second, so that a
// surplus shows. It returns fewer when no message has come for a minute.
func Consume(t testing.TB, mq *local.ActiveMQ, queue string, expected int) []Delivered {
	t.Helper()
	return ConsumeFrom(t, Consumption{URL: mq.OpenWireURL(), Queues: []string{queue}, Expected: expected})
}

// ConsumeFrom is Consume with more to choose. Messages of several queues come in the order of delivery.
func ConsumeFrom(t testing.TB, c Consumption) []Delivered {
	t.Helper()
	classes, err := shared.consumer()
	if err != nil {
		t.Fatal(err)
	}
	cmd := java(t.Context(), classes+":"+local.ClientJars(), "Consumer", "--url="+c.URL, "--queue="+strings.Join(c.Queues, ","),
		"--user="+c.User, "--password="+c.Password, "--count="+strconv.Itoa(c.Expected))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	delivered, err := parseLines(out)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatalf("consuming %v: %v\n%s", c.Queues, err, complaint.Bytes())
	}
	return delivered
}

func parseLines(out io.Reader) ([]Delivered, error) {
	var all []Delivered
	for lines := json.NewDecoder(bufio.NewReaderSize(out, 1<<20)); ; {
		var d Delivered
		if err := lines.Decode(&d); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, d)
	}
}

// consumer compiles testdata/consumer once and returns the directory of the classes.
func (s *servers) consumer() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.classes != "" {
		return s.classes, nil
	}
	dir, err := s.folder("classes")
	if err != nil {
		return "", err
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "testdata", "consumer", "Consumer.java")
	if err := compile(context.Background(), local.ClientJars(), dir, source); err != nil { // the classes outlive the test that asked first
		return "", err
	}
	s.classes = dir
	return dir, nil
}

// moduleRoot is the directory of go.mod; tests run in that of their package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the test's directory")
		}
		dir = filepath.Dir(dir)
	}
}
