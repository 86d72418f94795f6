package fleet

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Each instance has a network namespace of its own, with one cable to each server. All cables end in one more, the hub,
// where a proxy listens that reaches the real server. Nothing is changed in the network of the machine itself, and the
// cables go with their namespaces.
//
//	namespace of member 1 ── cable "database" ── hub ── proxy ── PostgreSQL on 127.0.0.1
//	                      └─ cable "broker" ──── hub ── proxy ── ActiveMQ on 127.0.0.1
const (
	namespaces = "modulo-fleet-" // then our process id, and a number or "hub"
	mountedAt  = "/run/netns/"
)

// cable is a veth pair between a namespace and the hub.
type cable struct {
	near, far       string // namespaces
	nearEnd, farEnd string // names of the ends there
	address         string // of the far end
}

func namespaceOf(member int) string {
	return fmt.Sprintf("%s%d-%d", namespaces, os.Getpid(), member)
}

func hub() string { return fmt.Sprintf("%s%d-hub", namespaces, os.Getpid()) }

// buildNamespaces makes the hub and the namespaces of so many members, and says whether it could: it needs root. They
// are gone after the test; those of a run that crashed are removed first.
func buildNamespaces(t *testing.T, members int) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return false
	}
	removeStale(t)
	names := []string{hub()}
	for n := range members {
		names = append(names, namespaceOf(n))
	}
	for _, name := range names {
		t.Cleanup(func() {
			if err := ip("netns", "delete", name); err != nil {
				t.Error(err)
			}
		})
		if err := ip("netns", "add", name); err != nil {
			t.Fatal(err)
		}
	}
	return true
}

// removeStale removes namespaces of ours whose process is dead.
func removeStale(t *testing.T) {
	t.Helper()
	found, _ := filepath.Glob(mountedAt + namespaces + "*") // the pattern is well-formed
	for _, path := range found {
		name := filepath.Base(path)
		pid, err := strconv.Atoi(strings.Split(strings.TrimPrefix(name, namespaces), "-")[0])
		if err != nil || syscall.Kill(pid, 0) != syscall.ESRCH {
			continue
		}
		if err := ip("netns", "delete", name); err != nil {
			t.Error(err)
		}
	}
}

// lay lays a cable from a member's namespace to the hub. number is unique among the member's cables.
func lay(member, number int, name string) (*cable, error) {
	c := &cable{near: namespaceOf(member), far: hub(), nearEnd: name, farEnd: fmt.Sprintf("%s%d", name, member)}
	subnet := fmt.Sprintf("10.%d.%d.", member, number)
	c.address = subnet + "1"
	for _, args := range [][]string{
		{"link", "add", "name", c.nearEnd, "netns", c.near, "type", "veth", "peer", "name", c.farEnd, "netns", c.far},
		{"-n", c.far, "address", "add", c.address + "/30", "dev", c.farEnd},
		{"-n", c.near, "address", "add", subnet + "2/30", "dev", c.nearEnd},
		{"-n", c.far, "link", "set", c.farEnd, "up"},
		{"-n", c.near, "link", "set", c.nearEnd, "up"},
	} {
		if err := ip(args...); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// listen listens at the far end, on the port.
func (c *cable) listen(port string) (net.Listener, error) {
	var listener net.Listener
	err := within(c.far, func() (err error) {
		listener, err = net.Listen("tcp4", net.JoinHostPort(c.address, port))
		return err
	})
	return listener, err
}

// within runs a function in a network namespace; sockets made there stay there.
func within(namespace string, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its namespace is forgotten
		done <- func() error {
			file, err := os.Open(mountedAt + namespace)
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter namespace %s: %w", namespace, err)
			}
			return do()
		}()
	}()
	return <-done
}

// breakSilently takes the far end away: what is sent gets lost, without a word to either side.
func (c *cable) breakSilently() error { return ip("-n", c.far, "link", "set", c.farEnd, "down") }

// pull takes the near end away: the instance has no route any more.
func (c *cable) pull() error { return ip("-n", c.near, "link", "set", c.nearEnd, "down") }

func (c *cable) mend() error {
	if err := ip("-n", c.far, "link", "set", c.farEnd, "up"); err != nil {
		return err
	}
	return ip("-n", c.near, "link", "set", c.nearEnd, "up")
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
