package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modulo/broker"
	"modulo/internal/testservers"
)

func TestMain(m *testing.M) {
	code := testservers.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestNew(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"stomp://localhost":                                   "stomp://localhost:61613",
		"stomp+tls://localhost/":                              "stomp+tls://localhost:61612",
		"stomp://a:1, stomp+tls://b:2":                        "stomp://a:1,stomp+tls://b:2",
		"stomp://user:pa%2Css%40%3A%2F@h:61613,stomp://me@h2": "stomp://h:61613,stomp://h2:61613",
		"stomp://[::1]:61613":                                 "stomp://[::1]:61613",
	} {
		b, err := broker.New(broker.Config{URL: url})
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if b.String() != want {
			t.Errorf("%s is %s, want %s", url, b, want)
		}
	}
}

// No error about a configuration shows a part of a login.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	notPEM := filepath.Join(t.TempDir(), "not.pem")
	if err := os.WriteFile(notPEM, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		cfg  broker.Config
		want string
	}{
		"nothing":            {broker.Config{}, "empty"},
		"no scheme":          {broker.Config{URL: "secret@localhost:61613"}, "address 1: no"},
		"unknown scheme":     {broker.Config{URL: "amqp://me:secret@localhost"}, "unknown scheme"},
		"second scheme":      {broker.Config{URL: "stomp://a,amqp://me:secret@localhost"}, "scheme"},
		"no host":            {broker.Config{URL: "stomp://me:secret@:61613"}, "no host"},
		"slash in password":  {broker.Config{URL: "stomp://me:sec/ret@localhost"}, "not a URL"},
		"percent":            {broker.Config{URL: "stomp://a,stomp://me:secret%zz@localhost"}, "address 2: not a URL"},
		"comma in password":  {broker.Config{URL: "stomp://me:sec,ret@localhost"}, "address 1"},
		"port":               {broker.Config{URL: "stomp://me:secret@localhost:port"}, "not a URL"},
		"path":               {broker.Config{URL: "stomp://localhost/secret"}, "more than"},
		"query":              {broker.Config{URL: "stomp://localhost?password=secret"}, "more than"},
		"username":           {broker.Config{URL: "stomp://localhost", Username: "secret\n", Password: "secret"}, "username"},
		"password":           {broker.Config{URL: "stomp://localhost", Username: "me", Password: "secret\r"}, "password"},
		"virtual host":       {broker.Config{URL: "stomp://localhost", VirtualHost: "a\nlogin:admin"}, "virtual host"},
		"confirm":            {broker.Config{URL: "stomp://localhost", Confirm: "maybe"}, "want auto, transaction or receipt"},
		"window":             {broker.Config{URL: "stomp://localhost", Window: -1}, "window"},
		"heart-beat":         {broker.Config{URL: "stomp://localhost", Heartbeat: time.Millisecond}, "heartbeat"},
		"timeout":            {broker.Config{URL: "stomp://localhost", ReceiptTimeout: -time.Second}, "receipt timeout"},
		"TLS without TLS":    {broker.Config{URL: "stomp://localhost", TLS: broker.TLS{ServerName: "a"}}, "stomp+tls"},
		"no CA file":         {broker.Config{URL: "stomp+tls://localhost", TLS: broker.TLS{CAFile: notPEM + "x"}}, "ca file"},
		"CA file of no PEM":  {broker.Config{URL: "stomp+tls://localhost", TLS: broker.TLS{CAFile: notPEM}}, "no PEM certificate"},
		"key without a pair": {broker.Config{URL: "stomp+tls://localhost", TLS: broker.TLS{KeyFile: notPEM}}, "go together"},
		"pair of no PEM":     {broker.Config{URL: "stomp+tls://localhost", TLS: broker.TLS{KeyFile: notPEM, CertFile: notPEM}}, "client certificate"},
	} {
		b, err := broker.New(test.cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v", name, b, err)
		} else if strings.Contains(err.Error(), "sec") && !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
