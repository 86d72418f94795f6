package jobs

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of the headers of one message. ActiveMQ Classic closes the connection, without a word, on a header line of
// more than 10 KiB or on more than 1000 headers; RabbitMQ takes 100 headers.
const (
	maxHeaderLine = 8 << 10
	maxHeaders    = 80
)

// standardHeaders are the names of STOMP and JMS that are allowed although other rules forbid them.
var standardHeaders = map[string]bool{"correlation-id": true, "reply-to": true, "JMSXGroupID": true}

// ownHeaders are set by Modulo on every message.
var ownHeaders = []string{"event_id", "job", "row_id", "worker", "epoch"}

// reservedHeaders have a meaning in a SEND frame or to a broker that a job must not change: the frame itself, the
// guarantee (persistence, expiry, transaction), the message's type, or who gets it. RabbitMQ adds the last line: expiry
// and what kind of queue it makes.
var reservedHeaders = map[string]bool{
	"destination": true, "persistent": true, "receipt": true, "transaction": true, "expires": true, "priority": true,
	"timestamp": true, "redelivered": true, "transformation": true, "selector": true, "subscription": true, "id": true,
	"ack": true, "login": true, "passcode": true, "host": true, "session": true, "server": true, "message": true,
	"browser":    true,
	"expiration": true, "durable": true, "exclusive": true,
}

// reservedPrefixes are the name spaces of JMS, ActiveMQ Classic (scheduling, composite sends) and Artemis. ActiveMQ
// Classic obeys a property JMSExpiration or JMSDeliveryMode as it does the header that STOMP has for it.
var reservedPrefixes = []string{"JMS", "AMQ_", "_AMQ", "_HQ", "activemq"}

// checkHeaderName says why a header of that name cannot be sent; nil if it can. Names must be Java identifiers
// because JMS clients cannot read any other property.
func checkHeaderName(name string) error {
	if slices.Contains(ownHeaders, name) {
		return fmt.Errorf("header %q is set by Modulo itself", name)
	}
	if standardHeaders[name] {
		return nil
	}
	if reservedHeaders[name] {
		return fmt.Errorf("header %q is reserved", name)
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("header %.100q is reserved: names that begin with %q are the broker's own", name, prefix)
		}
	}
	if !javaIdentifier(name) {
		return fmt.Errorf("header name %.100q is not a Java identifier (letters, digits, _ and $)", name)
	}
	return nil
}

func javaIdentifier(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '$'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(name) > 0
}

// checkHeaderValue says why a value cannot be sent; nil if it can.
func checkHeaderValue(name string, value []byte) *invalid {
	if bytes.IndexByte(value, 0) >= 0 {
		return invalidf(ClassInvalid, "header %s: NUL in the value", name)
	}
	if !utf8.Valid(value) {
		return invalidf(ClassInvalid, "header %s: value is not UTF-8", name)
	}
	if n := len(name) + 1 + escapedLen(value); n > maxHeaderLine {
		return invalidf(ClassTooLarge, "header %s: %d bytes, the limit is %d", name, n, maxHeaderLine)
	}
	return nil
}

// escapedLen is the length of a value in a STOMP 1.2 frame, where these four bytes take two each.
func escapedLen(value []byte) int {
	n := len(value)
	for _, c := range value {
		if c == '\\' || c == ':' || c == '\r' || c == '\n' {
			n++
		}
	}
	return n
}
