package broker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// address is one of the URLs of a broker.
type address struct {
	scheme     string
	host, port string
	login      *url.Userinfo // nil: none
}

func (a address) hostPort(defaultPort string) string {
	if a.port == "" {
		return net.JoinHostPort(a.host, defaultPort)
	}
	return net.JoinHostPort(a.host, a.port)
}

// parseURL splits a comma-separated list of broker URLs. Its errors name an address by its place in the list: the text
// of an address, and that of net/url about it, may hold a password.
func parseURL(list string) ([]address, error) {
	if strings.TrimSpace(list) == "" {
		return nil, errors.New("empty, want one like stomp://localhost:61613")
	}
	var addresses []address
	for i, text := range strings.Split(list, ",") {
		a, err := parseAddress(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("address %d: %w", i+1, err)
		}
		addresses = append(addresses, a)
	}
	return addresses, nil
}

func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return address{}, errors.New("not a URL; special characters in a login are percent-encoded, a comma as %2C")
	case u.Scheme == "" || u.Opaque != "":
		return address{}, errors.New("no scheme, want one like stomp://host:61613")
	case u.Hostname() == "":
		return address{}, errors.New("no host, want one like stomp://host:61613")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return address{}, errors.New("more than scheme, login, host and port")
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return address{}, fmt.Errorf("port %.10s is not within 1 and 65535", u.Port())
	}
	return address{scheme: u.Scheme, host: u.Hostname(), port: u.Port(), login: u.User}, nil
}
