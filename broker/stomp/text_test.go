package stomp

import (
	"testing"

	"modulo/jobs"
)

func TestTextBody(t *testing.T) {
	t.Parallel()
	const emoji, surrogates = "a\U0001F388é☂\U0010FFFF", "a\xed\xa0\xbc\xed\xbe\x88é☂\xed\xaf\xbf\xed\xbf\xbf"
	java := dialect{server: classic, javaText: true}
	for _, test := range []struct {
		name    string
		dialect dialect
		message jobs.Message
		want    string
	}{
		{"old classic", java, jobs.Message{Body: []byte(emoji)}, surrogates},
		{"old classic, JSON", java, jobs.Message{Body: []byte("{\"a\U0001F388\":\"é\U0010FFFF\"}")}, `{"a\ud83c\udf88":"é\udbff\udfff"}`},
		{"old classic, nothing beyond U+FFFF", java, jobs.Message{Body: []byte("é☂\uFFFD")}, "é☂\uFFFD"},
		{"old classic, bytes", java, jobs.Message{Body: []byte(emoji), Binary: true}, emoji},
		{"classic", dialect{server: classic}, jobs.Message{Body: []byte(emoji)}, emoji},
		{"artemis", dialect{server: artemis}, jobs.Message{Body: []byte(emoji)}, emoji},
		{"rabbitmq", dialect{server: rabbitMQ}, jobs.Message{Body: []byte(emoji)}, emoji},
	} {
		if got := test.dialect.body(&test.message); string(got) != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestMendsText(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"ActiveMQ/5.9.1": false, "ActiveMQ/5.17.7": false, "ActiveMQ/5.18.5": false, "ActiveMQ/5.18.6": true, "ActiveMQ/5.19.0": true,
		"ActiveMQ/6.0.1": false, "ActiveMQ/6.1.3": false, "ActiveMQ/6.1.4": true, "ActiveMQ/6.1.10": true, "ActiveMQ/6.2": true,
		"ActiveMQ/7.0.0-SNAPSHOT": true, "ActiveMQ/5.11.0.redhat-630187": false, "ActiveMQ/": true, "ActiveMQ": true,
	} {
		if got := mendsText(header); got != want {
			t.Errorf("%s: %t", header, got)
		}
	}
}
