package testservers

import (
	"net/url"
	"strings"
	"testing"

	"modulo/internal/local"
)

// Standby starts a standby of a server of the test's own, Unsafe like that. It may be killed, stopped, started again and
// promoted, and is gone after the test.
func Standby(t testing.TB, primary *local.Postgres, settings ...string) *local.Postgres {
	t.Helper()
	standby, err := primary.StartStandby(t.Context(), local.PostgresConfig{Dir: folder(t), Unsafe: true, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	return standby
}

// Either is the URL that names several servers, for who finds out which one takes writes.
func Either(t testing.TB, database string, servers ...*local.Postgres) string {
	t.Helper()
	var hosts []string
	var address *url.URL
	for _, server := range servers {
		var err error
		if address, err = url.Parse(server.URL(database)); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, address.Host)
	}
	address.Host = strings.Join(hosts, ",")
	return address.String()
}
