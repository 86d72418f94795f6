package stomp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"modulo/jobs"
)

// Limits of one message. Beyond those of ActiveMQ Classic (10 KiB per line, 1000 headers) it takes what follows in the
// middle of a frame for the next one.
const (
	maxHeaderLine = 10_000
	maxHeaders    = 900
	maxName       = 200
)

// check says why a message cannot be sent as exactly one frame with exactly its headers and body; nil if it can. The
// messages were checked when they were built: this is the last gate before the wire, whatever the reason. last are
// headers that have passed: the same name in the same place need not be looked at again.
func check(m *jobs.Message, last []jobs.Header) error {
	if m.Destination == "" || !sendable(m.Destination) {
		return fmt.Errorf("destination %.100q: empty, too long, not UTF-8 or with NUL", m.Destination)
	}
	if len(m.Headers) > maxHeaders {
		return fmt.Errorf("%d headers: more than %d", len(m.Headers), maxHeaders)
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		if (i >= len(last) || last[i].Name != h.Name) && !sendableName(h.Name) {
			return fmt.Errorf("header %.100q: not a name for a header of a message", h.Name)
		}
		if !sendable(h.Value) {
			return fmt.Errorf("header %s: too long, not UTF-8 or with NUL", h.Name)
		}
	}
	if !m.Binary && (bytes.IndexByte(m.Body, 0) >= 0 || !utf8.Valid(m.Body)) {
		return errors.New("body: not UTF-8 or with NUL in a text")
	}
	return nil
}

// sendable says whether a value fits into a header line, escapes included.
func sendable[T string | []byte](value T) bool {
	size := len(value)
	if size > maxHeaderLine {
		return false
	}
	ascii := true
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == 0:
			return false
		case c == '\\' || c == ':' || c == '\r' || c == '\n':
			size++
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return size <= maxHeaderLine && (ascii || utf8.ValidString(string(value)))
}

// ownHeaders are the headers that this package sets; a second one of the same name could win at the broker.
var ownHeaders = []string{
	"destination", "persistent", "receipt", "transaction", "content-length", "destination-type", "_AMQ_DUPL_ID",
}

// sendableName refuses what ends a name early, what brokers do not unescape in names and what this package sets itself.
func sendableName(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c == ':' || c == '\\' || c == 0x7f {
			return false
		}
	}
	return name != "" && len(name) <= maxName && utf8.ValidString(name) && !slices.Contains(ownHeaders, name)
}

// appendHead appends a SEND frame up to its body; common is what all frames of a batch have in their head, complete
// lines. The message is always persistent: without the header all known brokers keep it in memory only.
//
// A text goes without content-length, which makes it a TextMessage on ActiveMQ; with it, it is a BytesMessage.
func appendHead(b []byte, d dialect, common []byte, receipt uint64, m *jobs.Message) []byte {
	b = append(b, "SEND\npersistent:true\n"...)
	b = append(b, common...)
	b = d.appendRoute(b, m.Destination)
	if receipt != 0 {
		b = append(b, "receipt:"...)
		b = strconv.AppendUint(b, receipt, 10)
		b = append(b, '\n')
		b = d.appendIdentity(b, m)
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		b = append(b, h.Name...)
		b = append(b, ':')
		b = appendEscaped(b, h.Value)
		b = append(b, '\n')
	}
	if m.Binary {
		b = append(b, "content-length:"...)
		b = strconv.AppendInt(b, int64(len(m.Body)), 10)
		b = append(b, '\n')
	}
	return append(b, '\n')
}

// appendSend appends a whole SEND frame.
func appendSend(b []byte, d dialect, common []byte, receipt uint64, m *jobs.Message) []byte {
	b = appendHead(b, d, common, receipt, m)
	b = append(b, d.body(m)...)
	return append(b, 0)
}

// appendCommand appends a frame without a body. Names and values need no escapes.
func appendCommand(b []byte, command string, headers ...string) []byte {
	b = append(b, command...)
	b = append(b, '\n')
	for i := 0; i+1 < len(headers); i += 2 {
		b = append(b, headers[i]...)
		b = append(b, ':')
		b = append(b, headers[i+1]...)
		b = append(b, '\n')
	}
	return append(b, '\n', 0)
}

// appendEscaped appends a header value as STOMP 1.2 wants it.
func appendEscaped[T string | []byte](b []byte, value T) []byte {
	start := 0
	for i := 0; i < len(value); i++ {
		var escape string
		switch value[i] {
		case '\\':
			escape = `\\`
		case '\n':
			escape = `\n`
		case '\r':
			escape = `\r`
		case ':':
			escape = `\c`
		default:
			continue
		}
		b = append(b, value[start:i]...)
		b = append(b, escape...)
		start = i + 1
	}
	return append(b, value[start:]...)
}
