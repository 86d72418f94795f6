package jobs

import (
	"bytes"
	"strings"
	"testing"
)

func TestHeaderNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"type", "tenant", "_x", "$x", "x9", "X_y$", "correlation-id", "reply-to", "JMSXGroupID", "traceparent", "jms", "amq"} {
		if err := checkHeaderName(name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"":               "not a Java identifier",
		"9x":             "not a Java identifier",
		"a-b":            "not a Java identifier",
		"a.b":            "not a Java identifier",
		"a b":            "not a Java identifier",
		"a:b":            "not a Java identifier",
		"a\nb":           "not a Java identifier",
		"a\x00":          "not a Java identifier",
		"ä":              "not a Java identifier",
		"content-length": "not a Java identifier",
		"content-type":   "not a Java identifier",
		"amq-msg-type":   "not a Java identifier",
		"event_id":       "set by Modulo",
		"job":            "set by Modulo",
		"row_id":         "set by Modulo",
		"worker":         "set by Modulo",
		"epoch":          "set by Modulo",
		// To ActiveMQ Classic each of these is the field of the message: not stored, expired, somewhere else.
		"JMSDeliveryMode":       "reserved",
		"JMSExpiration":         "reserved",
		"JMSPriority":           "reserved",
		"JMSReplyTo":            "reserved",
		"JMSTimestamp":          "reserved",
		"JMSRedelivered":        "reserved",
		"JMSType":               "reserved",
		"JMSCorrelationID":      "reserved",
		"JMSMessageID":          "reserved",
		"JMSDestination":        "reserved",
		"JMSXGroupSeq":          "reserved",
		"JMSXDeliveryCount":     "reserved",
		"JMSXUserID":            "reserved",
		"JMSActiveMQBrokerPath": "reserved",
		"AMQ_SCHEDULED_DELAY":   "reserved",
		"_AMQ_DUPL_ID":          "reserved",
		"_HQ_SCHED_DELIVERY":    "reserved",
		"activemqBroker":        "reserved",
		"persistent":            "reserved",
		"destination":           "reserved",
		"expires":               "reserved",
		"priority":              "reserved",
		"receipt":               "reserved",
		"transaction":           "reserved",
		"transformation":        "reserved",
		"selector":              "reserved",
		"expiration":            "reserved", // RabbitMQ
		"durable":               "reserved",
	} {
		if err := checkHeaderName(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", name, err, want)
		}
	}
}

func TestHeaderValues(t *testing.T) {
	t.Parallel()
	text := func(n int, what string) []byte { return bytes.Repeat([]byte(what), n) }
	room := maxHeaderLine - len("name:")
	for _, c := range []struct {
		what  string
		value []byte
		class Class // empty: allowed
	}{
		{"null", nil, ""},
		{"empty", []byte{}, ""},
		{"what the adapter escapes", []byte("a:b\\c\r\nd"), ""},
		{"unicode", []byte("€ \U0001F600"), ""},
		{"as long as a line", text(room, "x"), ""},
		{"a byte longer", text(room+1, "x"), ClassTooLarge},
		{"as long as a line once escaped", text(room/2, ":"), ""},
		{"longer once escaped", text(room/2+1, "\n"), ClassTooLarge},
		{"NUL", []byte("a\x00"), ClassInvalid},
		{"not UTF-8", []byte("a\xff"), ClassInvalid},
		{"half a rune", []byte("€")[:2], ClassInvalid},
		{"surrogate", []byte("\xed\xa0\x80"), ClassInvalid},
	} {
		bad := checkHeaderValue("name", c.value)
		switch {
		case bad == nil && c.class != "":
			t.Errorf("%s is allowed, want %s", c.what, c.class)
		case bad != nil && (bad.class != c.class || !strings.HasPrefix(bad.reason, "header name: ")):
			t.Errorf("%s: %s, %s, want class %q", c.what, bad.class, bad.reason, c.class)
		}
	}
}
