package local

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// ActiveMQ is a private ActiveMQ Classic broker. The methods that start and stop it are not safe for concurrent use.
type ActiveMQ struct {
	daemon
	cfg                       ActiveMQConfig
	java, jar                 string
	stomp, openWire, stompTLS Port
}

// StartActiveMQ starts a broker on free loopback ports and returns when it accepts STOMP clients. ctx limits the
// start only.
func StartActiveMQ(ctx context.Context, cfg ActiveMQConfig) (*ActiveMQ, error) {
	mq := &ActiveMQ{}
	if err := mq.prepare(cfg); err != nil {
		return nil, fmt.Errorf("prepare activemq: %w", err)
	}
	mq.daemon = daemon{
		name: "activemq", log: mq.LogFile(), newCmd: mq.command, ready: mq.Ping, onDeath: syscall.SIGKILL,
		farewell: syscall.SIGTERM, exitCode: 128 + int(syscall.SIGTERM), // as the virtual machine ends on a signal
	}
	if err := mq.Start(ctx); err != nil {
		return nil, err
	}
	return mq, nil
}

func (mq *ActiveMQ) prepare(cfg ActiveMQConfig) error {
	var err error
	if mq.cfg, err = cfg.withDefaults(); err != nil {
		return err
	}
	if mq.java, err = javaProgram(); err != nil {
		return err
	}
	if mq.jar, err = activemqJar(); err != nil {
		return err
	}
	for _, p := range []*Port{&mq.stomp, &mq.openWire, &mq.stompTLS} {
		if *p, err = FreePort(); err != nil {
			return err
		}
	}
	return mq.writeFiles()
}

func (mq *ActiveMQ) configFile() string  { return filepath.Join(mq.cfg.Dir, "activemq.xml") }
func (mq *ActiveMQ) logSettings() string { return filepath.Join(mq.cfg.Dir, "log4j.properties") }
func (mq *ActiveMQ) dataDir() string     { return filepath.Join(mq.cfg.Dir, "data") }

// LogFile is where the broker's log goes.
func (mq *ActiveMQ) LogFile() string { return filepath.Join(mq.cfg.Dir, "activemq.log") }

// URL is the address for STOMP, without a login.
func (mq *ActiveMQ) URL() string { return "stomp://" + mq.stomp.Addr() }

// TLSURL is the address for STOMP over TLS; empty without ActiveMQConfig.TLS.
func (mq *ActiveMQ) TLSURL() string {
	if mq.cfg.TLS == nil {
		return ""
	}
	return "stomp+tls://" + mq.stompTLS.Addr()
}

// OpenWireURL is the address for ActiveMQ's own clients.
func (mq *ActiveMQ) OpenWireURL() string { return "tcp://" + mq.openWire.Addr() }

func (mq *ActiveMQ) command() *exec.Cmd {
	args := []string{"-Xmx" + mq.cfg.Heap, "-Djava.awt.headless=true"}
	if mq.cfg.QuickStart {
		args = append(args, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
	}
	args = append(args,
		"--add-opens", "java.base/java.lang=ALL-UNNAMED", // the configuration is read by reflection
		"-Dactivemq.home="+filepath.Dir(filepath.Dir(mq.jar)),
		"-Dactivemq.base="+mq.cfg.Dir,
		"-Dactivemq.conf="+mq.cfg.Dir,
		"-Dactivemq.data="+mq.dataDir(),
		"-Dlog4j.configuration="+fileURL(mq.logSettings()),
		"-jar", mq.jar, "start", "xbean:"+fileURL(mq.configFile()))
	cmd := exec.Command(mq.java, args...)
	cmd.Dir = mq.cfg.Dir
	return cmd
}

func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }

// Ping connects over STOMP and says whether the broker answered. It has no login: a broker with users is ready when it says ERROR to that.
func (mq *ActiveMQ) Ping(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", mq.stomp.Addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := io.WriteString(conn, "CONNECT\naccept-version:1.2\nhost:localhost\n\n\x00"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if answer == "CONNECTED\n" || answer == "ERROR\n" && len(mq.cfg.Users) > 0 {
		return nil
	}
	return fmt.Errorf("answer to CONNECT: %q", answer)
}

func javaProgram() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", "java"), nil
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("java: %w; Debian's package is default-jre-headless", ErrNotInstalled)
	}
	return java, nil
}

// activemqJar finds the broker below ACTIVEMQ_HOME or where Debian's package puts it.
func activemqJar() (string, error) {
	jar := "/usr/share/activemq/bin/activemq.jar"
	if home := os.Getenv("ACTIVEMQ_HOME"); home != "" {
		jar = filepath.Join(home, "bin", "activemq.jar")
	}
	if _, err := os.Stat(jar); err != nil {
		return "", fmt.Errorf("%s: %w; Debian's package is activemq", jar, ErrNotInstalled)
	}
	return jar, nil
}

// ClientJars is the class path of ActiveMQ's Java client, where Debian's packages put it.
func ClientJars() string {
	jars := []string{"activemq-client", "geronimo-jms_1.1_spec", "geronimo-j2ee-management-1.1-spec", "hawtbuf", "slf4j-api", "slf4j-nop"}
	for i, jar := range jars {
		jars[i] = "/usr/share/java/" + jar + ".jar"
	}
	return strings.Join(jars, ":")
}
