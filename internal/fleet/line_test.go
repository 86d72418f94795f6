package fleet

import (
	"net/url"
	"testing"

	"modulo/internal/faultproxy"
	"modulo/internal/testservers"
)

// line is how an instance reaches a server. It can be cut: at the cable where there are namespaces, else by the proxy.
type line struct {
	url   string // as the instance is given it
	proxy *faultproxy.Proxy
	cable *cable // nil: there are no namespaces
}

// layLine lays a member's line to a server; number is unique among the member's lines.
func layLine(t *testing.T, cabled bool, member, number int, name, serverURL string) *line {
	t.Helper()
	if !cabled {
		return proxied(t, serverURL)
	}
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	cable, err := lay(member, number, name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := cable.listen(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	l := &line{proxy: faultproxy.On(listener, u.Host), cable: cable}
	t.Cleanup(func() {
		if err := l.proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	u.Host = listener.Addr().String()
	l.url = u.String()
	return l
}

// proxied is a line without a cable.
func proxied(t *testing.T, serverURL string) *line {
	t.Helper()
	proxy, seen := testservers.Through(t, serverURL)
	return &line{url: seen, proxy: proxy}
}

// breakSilently lets nothing through, and nobody knows.
func (l *line) breakSilently() error {
	if l.cable != nil {
		return l.cable.breakSilently()
	}
	l.proxy.Set(faultproxy.Silent())
	return nil
}

// pull lets nothing through, and the instance sees that at once.
func (l *line) pull() error {
	if l.cable != nil {
		return l.cable.pull()
	}
	l.proxy.Set(faultproxy.Faults{Refuse: true})
	l.proxy.CutAll(faultproxy.RST)
	return nil
}

func (l *line) mend() error {
	if l.cable != nil {
		return l.cable.mend()
	}
	l.proxy.Set(faultproxy.Faults{})
	return nil
}
