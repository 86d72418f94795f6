package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"modulo/broker/stomp"
)

// answerPatience is how long a broker may take for an answer.
const answerPatience = 60 * time.Second

// wire is a connection to the broker that shares no code with the one that is measured.
type wire struct {
	net.Conn
	in     *bufio.Reader
	frames *frame.Reader // of in
	server string
}

// connectWire logs in at the first host that takes it. Ending ctx breaks the connection.
func connectWire(ctx context.Context, hosts []stomp.Host) (*wire, error) {
	var problems []error
	for _, host := range hosts {
		w, err := connectTo(ctx, host)
		if err == nil {
			return w, nil
		}
		problems = append(problems, fmt.Errorf("broker %s: %w", host, err))
	}
	return nil, errors.Join(problems...)
}

func connectTo(ctx context.Context, host stomp.Host) (*wire, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", host.Address)
	if err != nil {
		return nil, err
	}
	if host.TLS != nil {
		conn = tls.Client(conn, host.TLS)
	}
	w := &wire{Conn: conn, in: bufio.NewReaderSize(conn, 256<<10)}
	w.frames = frame.NewReader(w.in)
	defer context.AfterFunc(ctx, w.cut)()
	if err := w.login(host); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

// cut makes every call on the connection return.
func (w *wire) cut() { _ = w.SetDeadline(time.Unix(1, 0)) }

func (w *wire) login(host stomp.Host) error {
	connect := "CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,0\n"
	if host.Username != "" {
		connect += "login:" + host.Username + "\npasscode:" + host.Password + "\n"
	}
	if _, err := io.WriteString(w, connect+"\n\x00"); err != nil {
		return err
	}
	f, err := w.next()
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	if f.Command != frame.CONNECTED {
		return fmt.Errorf("login: %s %s", f.Command, f.Header.Get(frame.Message))
	}
	w.server = f.Header.Get("server")
	return nil
}

// next returns the next frame; an ERROR is an error.
func (w *wire) next() (*frame.Frame, error) {
	for {
		f, err := w.frames.Read()
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue // a heart-beat
		}
		if f.Command == frame.ERROR {
			return nil, fmt.Errorf("the broker says: %s", f.Header.Get(frame.Message))
		}
		return f, nil
	}
}

// awaitReceipts reads n receipts, which come in order, and nothing else.
func (w *wire) awaitReceipts(n int) error {
	for range n {
		f, err := w.next()
		if err != nil {
			return err
		}
		if f.Command != frame.RECEIPT {
			return fmt.Errorf("%s instead of a receipt", f.Command)
		}
	}
	return nil
}

// leave says goodbye, so that the broker has done all that was asked, and closes.
func (w *wire) leave() error {
	_ = w.SetDeadline(time.Now().Add(answerPatience))
	_, err := io.WriteString(w, "DISCONNECT\nreceipt:goodbye\n\n\x00")
	for err == nil {
		var f *frame.Frame
		if f, err = w.next(); err == nil && f.Command == frame.RECEIPT {
			break
		}
	}
	return errors.Join(err, w.Close())
}

// ceilingEpoch stands for any.
const ceilingEpoch = 17

// appendFrame appends the frame of an event as Modulo sends it; transaction is a complete header or nothing, receipt 0 for
// none.
func appendFrame(b []byte, transaction string, receipt int, e event) []byte {
	b = append(b, "SEND\npersistent:true\n"...)
	b = append(b, transaction...)
	b = append(b, "destination:"...)
	b = append(b, e.destination...)
	if receipt > 0 {
		b = fmt.Appendf(b, "\nreceipt:%d", receipt)
	}
	b = fmt.Appendf(b, "\nevent_id:%s\njob:outbox\nrow_id:%d\nworker:%d/%d\nepoch:%d\n\n", e.id, e.row, e.worker, e.of, ceilingEpoch)
	b = append(b, e.payload...)
	return append(b, 0)
}

// event is a row as a ceiling sends it.
type event struct {
	destination, id string
	row             int64
	worker, of      int
	payload         []byte
}
