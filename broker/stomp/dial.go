package stomp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/jobs"
)

// keepAlive finds a dead peer where heart-beats are off.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// dial opens a connection to a host and logs in. It tries a login with a backslash in both ways that brokers read it.
func dial(ctx context.Context, cfg *Config, host Host) (*conn, error) {
	c, err := dialOnce(ctx, cfg, host, escapeLogin(host))
	answer, answered := errors.AsType[*ServerError](err)
	if answered && answer.fault() == jobs.FaultMessage && strings.Contains(host.Username+host.Password, `\`) &&
		!strings.Contains(host.Password, "\n") {
		return dialOnce(ctx, cfg, host, host)
	}
	return c, err
}

// escapeLogin returns the host with its login as ActiveMQ Classic and RabbitMQ want it in CONNECT: with a backslash and
// a line feed escaped, against STOMP 1.2. Artemis goes by the book: no escapes at all.
func escapeLogin(host Host) Host {
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	host.Username, host.Password = escape.Replace(host.Username), escape.Replace(host.Password)
	return host
}

// dialTimeout is how long TCP may take to a host.
const dialTimeout = 5 * time.Second

func dialOnce(ctx context.Context, cfg *Config, host Host, login Host) (*conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive}
	dialed, err := dialer.DialContext(ctx, "tcp", host.Address)
	if err != nil {
		return nil, err
	}
	c := newConn(host, dialed.(*net.TCPConn), cfg.WriteTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.ConnectTimeout, fmt.Errorf("no answer within %s", cfg.ConnectTimeout))
	defer cancel()
	unbind := context.AfterFunc(ctx, func() { c.cut(context.Cause(ctx)) })
	stage := "TLS handshake"
	if err = c.secure(ctx, host.TLS); err == nil {
		stage = "login"
		err = c.login(ctx, cfg, login)
	}
	if !unbind() {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.drop(err)
		return nil, fmt.Errorf("%s: %w", stage, err)
	}
	return c, nil
}

// secure does the TLS handshake, if there is to be one.
func (c *conn) secure(ctx context.Context, settings *tls.Config) error {
	if settings == nil {
		return nil
	}
	secured := tls.Client(c.tcp, settings)
	c.net = secured
	err := secured.HandshakeContext(ctx)
	if _, noTLS := errors.AsType[tls.RecordHeaderError](err); noTLS {
		return fmt.Errorf("the port speaks no TLS: %w", err)
	}
	return err
}

// login sends CONNECT and, once the broker agrees, starts the connection's goroutines.
func (c *conn) login(ctx context.Context, cfg *Config, login Host) error {
	if err := c.send(ctx, connectFrame(cfg, login)); err != nil {
		return err
	}
	r := newFrameReader(c)
	answer, err := r.next()
	if err != nil {
		return connectReadError(err)
	}
	switch answer.command {
	case frame.CONNECTED:
	case frame.ERROR:
		return newServerError(answer)
	default:
		return fmt.Errorf("%w: %s", errNotSTOMP, answer.command)
	}
	if version := answer.get(frame.Version); string(version) != "1.2" {
		return fmt.Errorf("%w: the broker offers version %.20q", errVersion, version)
	}
	beat, silence, err := agreeHeartbeat(cfg.Heartbeat, answer.get(frame.HeartBeat))
	if err != nil {
		return err
	}
	header := string(answer.get("server"))
	c.server, c.version, c.silence = serverOf(header), header, silence
	c.javaText = c.server == classic && !mendsText(header)
	c.start(r, beat)
	return nil
}

// connectFrame is CONNECT with its values as they are: STOMP has no escapes in this frame.
func connectFrame(cfg *Config, login Host) []byte {
	every := strconv.FormatInt(cfg.Heartbeat.Milliseconds(), 10)
	headers := []string{
		frame.AcceptVersion, "1.2",
		frame.Host, cfg.VirtualHost,
		frame.HeartBeat, every + "," + every,
	}
	if login.Username != "" {
		headers = append(headers, frame.Login, login.Username, frame.Passcode, login.Password)
	}
	return appendCommand(nil, frame.CONNECT, headers...)
}

// connectReadError explains the answer of a port that wants TLS: an alert or a handshake record.
func connectReadError(err error) error {
	if errors.Is(err, errNotSTOMP) && strings.Contains(err.Error(), `"\x15\x03`) {
		return fmt.Errorf("%w: the port speaks TLS, use stomp+tls://", errNotSTOMP)
	}
	return readError(err)
}

// agreeHeartbeat works out from our wish and the broker's answer "sx,sy" how often to send (twice as often as promised)
// and how much silence to bear (three times what the broker promised: ActiveMQ Classic leaves out the heart-beat after
// every other frame, which makes it twice). 0 is never.
func agreeHeartbeat(wish time.Duration, answer []byte) (beat, silence time.Duration, err error) {
	if wish == 0 || len(answer) == 0 {
		return 0, 0, nil
	}
	sx, sy, _ := bytes.Cut(answer, []byte{','})
	sends, err1 := strconv.ParseUint(string(bytes.TrimSpace(sx)), 10, 31)
	wants, err2 := strconv.ParseUint(string(bytes.TrimSpace(sy)), 10, 31)
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%w: heart-beat %.30q", errNotSTOMP, answer)
	}
	if wants > 0 {
		beat = max(wish, time.Duration(wants)*time.Millisecond) / 2
	}
	if sends > 0 {
		silence = max(wish, time.Duration(sends)*time.Millisecond) * 3
	}
	return beat, silence, nil
}
