package stomp

import (
	"testing"

	"modulo/jobs"
)

func TestTextBody(t *testing.T) {
	t.Parallel()
	const emoji, surrogates = "a\U0001F388é☂\U0010FFFF", "a\xed\xa0\xbc\xed\xbe\x88é☂\xed\xaf\xbf\xed\xbf\xbf"
	for _, test := range []struct {
		name    string
		server  server
		message jobs.Message
		want    string
	}{
		{"classic", classic, jobs.Message{Body: []byte(emoji)}, surrogates},
		{"classic, JSON", classic, jobs.Message{Body: []byte("{\"a\U0001F388\":\"é\U0010FFFF\"}")}, `{"a\ud83c\udf88":"é\udbff\udfff"}`},
		{"classic, nothing beyond U+FFFF", classic, jobs.Message{Body: []byte("é☂\uFFFD")}, "é☂\uFFFD"},
		{"classic, bytes", classic, jobs.Message{Body: []byte(emoji), Binary: true}, emoji},
		{"artemis", artemis, jobs.Message{Body: []byte(emoji)}, emoji},
		{"rabbitmq", rabbitMQ, jobs.Message{Body: []byte(emoji)}, emoji},
	} {
		if got := (dialect{server: test.server}).body(&test.message); string(got) != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
