package testservers

import (
	"net/url"
	"testing"

	"modulo/internal/faultproxy"
)

// Through puts a fault proxy before a server and returns the server's URL as it is seen through that.
func Through(t testing.TB, serverURL string) (proxy *faultproxy.Proxy, seen string) {
	t.Helper()
	address, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err = faultproxy.Start(address.Host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	address.Host = proxy.Addr()
	return proxy, address.String()
}
