package testservers

import (
	"net/url"
	"testing"

	"modulo/broker/brokertest"
	"modulo/internal/faultproxy"
)

// Through puts a fault proxy before a server and returns the server's URL as it is seen through that.
func Through(t testing.TB, serverURL string) (proxy *faultproxy.Proxy, seen string) {
	t.Helper()
	address, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	proxy = brokertest.Proxy(t, address.Host)
	address.Host = proxy.Addr()
	return proxy, address.String()
}
