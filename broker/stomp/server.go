package stomp

import (
	"fmt"
	"slices"
	"strings"

	"modulo/jobs"
)

// server is a kind of broker, as far as brokers differ in what a RECEIPT means.
type server int

const (
	unknownServer server = iota
	classic              // ActiveMQ Classic
	artemis
	rabbitMQ
)

// serverOf reads the server header of CONNECTED, such as "ActiveMQ/5.17.2".
func serverOf(header string) server {
	name, _, _ := strings.Cut(header, "/")
	switch name {
	case "ActiveMQ":
		return classic
	case "ActiveMQ-Artemis":
		return artemis
	case "RabbitMQ":
		return rabbitMQ
	}
	return unknownServer
}

// mendsText says whether a version of ActiveMQ Classic reads the text of a SEND as UTF-8, before its own clients do:
// since 5.18.6 and 6.1.4 (AMQ-8398). header is as "ActiveMQ/5.17.2"; versions that it does not name as numbers count as new.
func mendsText(header string) bool {
	version := make([]int, 3)
	if n, _ := fmt.Sscanf(header, "ActiveMQ/%d.%d.%d", &version[0], &version[1], &version[2]); n < 2 {
		return true
	}
	since := []int{6, 1, 4}
	if version[0] < 6 {
		since = []int{5, 18, 6}
	}
	return slices.Compare(version, since) >= 0
}

func (s server) String() string {
	switch s {
	case classic:
		return "ActiveMQ Classic"
	case artemis:
		return "ActiveMQ Artemis"
	case rabbitMQ:
		return "RabbitMQ"
	}
	return "unknown STOMP server"
}

// confirmOn settles how messages are confirmed on this kind of broker.
func (s server) confirmOn(wish Confirm) (Confirm, error) {
	switch {
	case wish == Auto && s == classic:
		return Transaction, nil
	case wish == Auto:
		return Receipt, nil
	case wish == Transaction && s == rabbitMQ:
		return "", fmt.Errorf("%w: RabbitMQ answers a COMMIT before its messages are stored; set confirm to auto or receipt", errContradiction)
	case wish == Transaction && s == artemis:
		return "", fmt.Errorf("%w: Artemis commits a transaction without the messages it refused; set confirm to auto or receipt", errContradiction)
	}
	return wish, nil
}

// dialect is what the SEND frames of one connection have in common.
type dialect struct {
	server     server
	keepPrefix bool
	javaText   bool // the broker passes text on as it is to clients that read Java's modified UTF-8
}

// appendRoute appends the headers that name the destination. Artemis needs to be told queue or topic: by default it
// takes a destination for a topic, confirms the message and keeps nothing.
func (d dialect) appendRoute(b []byte, destination string) []byte {
	routing := ""
	if d.server == artemis {
		name, topic := strings.CutPrefix(destination, "/topic/")
		routing = "destination-type:ANYCAST\n"
		if topic {
			routing = "destination-type:MULTICAST\n"
		} else {
			name = strings.TrimPrefix(destination, "/queue/")
		}
		if !d.keepPrefix {
			destination = name
		}
	}
	b = append(b, "destination:"...)
	b = appendEscaped(b, destination)
	b = append(b, '\n')
	return append(b, routing...)
}

// appendIdentity appends the header by which Artemis drops a repeat of what it has, with a receipt all the same.
func (d dialect) appendIdentity(b []byte, m *jobs.Message) []byte {
	if d.server != artemis || len(m.EventID) == 0 {
		return b
	}
	b = append(b, "_AMQ_DUPL_ID:"...)
	b = appendEscaped(b, m.EventID)
	return append(b, '\n')
}
