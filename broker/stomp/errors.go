package stomp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"modulo/jobs"
)

var (
	errNotConnected  = errors.New("not connected")
	errClosed        = errors.New("closed by the broker")
	errSilent        = errors.New("no heart-beat from the broker")
	errNoReceipt     = errors.New("no receipt")
	errStuck         = errors.New("the broker takes no more bytes")
	errVersion       = errors.New("no STOMP 1.2")
	errContradiction = errors.New("confirm does not suit the broker")
	errNoToken       = errors.New("no token can be kept")
	errLeft          = errors.New("closed by us")
)

const (
	maxReason = 500 // bytes of a broker's words in an error
	maxCauses = 8
)

// ServerError is an ERROR frame. Its text is one line of limited length.
type ServerError struct {
	Text    string
	Classes []string // Java classes of the exception and its causes, from ActiveMQ Classic; innermost last
}

func (e *ServerError) Error() string { return "broker answers: " + e.Text }

// newServerError reads an ERROR frame. ActiveMQ Classic sends the stack trace of an exception as body, whose innermost
// cause says most; others put a sentence into the header message, and details into the body.
func newServerError(f *inbound) *ServerError {
	e := &ServerError{}
	innermost := ""
	for line := range bytes.Lines(f.body) {
		text, caused := strings.CutPrefix(strings.TrimRight(string(line), "\r\n"), "Caused by: ")
		if class := exceptionClass(text); class != "" && (caused || len(e.Classes) == 0) && len(e.Classes) < maxCauses {
			e.Classes = append(e.Classes, class)
			innermost = text
		}
	}
	switch {
	case innermost != "":
		e.Text = printable(innermost)
	case len(f.get("message")) > 0:
		what, _, _ := strings.Cut(string(f.get("message")), " CoreMessage[") // Artemis repeats the message it refuses
		e.Text = printable(what)
	default:
		e.Text = printable(string(f.body))
	}
	return e
}

// exceptionClass returns the class of a line such as "java.lang.SecurityException: User guest ...", "" for other lines.
func exceptionClass(line string) string {
	class, _, _ := strings.Cut(line, ":")
	if !strings.Contains(class, ".") || strings.ContainsFunc(class, func(r rune) bool {
		return r != '.' && r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return ""
	}
	return class
}

// printable cuts a text to one line of limited length without control characters.
func printable(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason] + "..."
	}
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
}

// noRoom are the Java classes and the codes of Artemis that say: no space for a message now. Nothing is stored then.
var noRoom = []string{"ResourceAllocationException", "AMQ229102", "AMQ229119"}

// outage are the endings of Java classes by which ActiveMQ Classic says that the broker, not a message, is in trouble: no
// journal, stopping. A message is never blamed for those, and whether it was stored is not known.
var outage = []string{
	"IOException", "IllegalStateException", "InterruptedException", "TimeoutException", "StoppedException",
	"StoppingException", "ClosedException", "DisposedException", "SQLException", "EOFException",
	"SuppressReplyException", "ConnectionFailedException", "LockException", "Error", // java.lang.OutOfMemoryError
}

// fault says who has to change something after an ERROR in answer to a message or a COMMIT.
func (e *ServerError) fault() jobs.Fault {
	words := append(slices.Clone(e.Classes), strings.TrimRight(firstWord(e.Text), ":"))
	says := func(endings []string) bool {
		return slices.ContainsFunc(words, func(word string) bool {
			return slices.ContainsFunc(endings, func(ending string) bool { return strings.HasSuffix(word, ending) })
		})
	}
	switch {
	case says(noRoom):
		return jobs.FaultBroker
	case len(e.Classes) > 0 && says(outage):
		return jobs.FaultConnection
	}
	return jobs.FaultMessage
}

// isDenied says that the login may not write to the destination. ActiveMQ Classic names the exception only as the cause of
// another; alone it sends nothing but its words, the same in every version from 4 to 6. Artemis has a code.
func isDenied(err error) bool {
	answer, ok := errors.AsType[*ServerError](err)
	return ok && (slices.Contains(answer.Classes, "java.lang.SecurityException") ||
		strings.Contains(answer.Text, " is not authorized to write to: ") || strings.HasPrefix(answer.Text, "AMQ229032"))
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return word
}

// connectFault says who has to change something before a host takes the connection.
func connectFault(err error) jobs.Fault {
	answer, answered := errors.AsType[*ServerError](err)
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case needsPerson(err):
		return jobs.FaultConfiguration
	case answered:
		if fault := answer.fault(); fault != jobs.FaultMessage {
			return fault
		}
		return jobs.FaultConfiguration
	case badCertificate, noTLS:
		return jobs.FaultConfiguration
	case isOp && op.Op == "remote error": // a TLS alert of the broker, such as "certificate required"
		return jobs.FaultConfiguration
	case errors.Is(err, errNotSTOMP), errors.Is(err, errVersion), errors.Is(err, errContradiction), errors.Is(err, errNoToken):
		return jobs.FaultConfiguration
	}
	return jobs.FaultConnection
}

// readError turns an error of the connection's reader into what it means.
func readError(err error) error {
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w (%w)", errClosed, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	}
	return err
}
