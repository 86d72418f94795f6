package stomp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-stomp/stomp/v3/frame"
)

// Limits of what is read. Whatever a broker or an impostor sends, a connection takes no more memory than these.
const (
	maxLine    = 16 << 10 // of command and headers; ActiveMQ's own limit is 10 KiB
	maxHead    = 64 << 10 // all headers of a frame together
	maxBody    = 64 << 10 // kept of a body; the rest is read and dropped
	maxToken   = 2 << 20  // the same of a MESSAGE: more than maxNamed ids take
	maxSkipped = 64 << 20 // read of a body at all
)

// errNotSTOMP says that what came is no frame of a STOMP server.
var errNotSTOMP = errors.New("not STOMP")

// inbound is a frame from the broker. Its slices are valid until the next one is read.
type inbound struct {
	command string
	headers []header
	body    []byte // the first maxBody or maxToken bytes
}

type header struct{ name, value []byte }

// get returns the value of a header, nil if there is none. Of several the first counts, as STOMP says.
func (f *inbound) get(name string) []byte {
	for _, h := range f.headers {
		if string(h.name) == name {
			return h.value
		}
	}
	return nil
}

// frameReader reads frames and reuses its memory.
type frameReader struct {
	r     *bufio.Reader
	head  []byte // unescaped headers of the current frame, one after the other; the frame's headers point into it
	frame inbound
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, maxLine)}
}

// limit is how much of the current frame's body is kept.
func (r *frameReader) limit() int {
	if r.frame.command == frame.MESSAGE {
		return maxToken
	}
	return maxBody
}

// next returns the next frame; it skips heart-beats.
func (r *frameReader) next() (*inbound, error) {
	line, err := r.line()
	for err == nil && len(line) == 0 {
		line, err = r.line()
	}
	if err != nil {
		return nil, err
	}
	if r.frame.command = serverCommand(line); r.frame.command == "" {
		return nil, fmt.Errorf("%w: %.40q", errNotSTOMP, line)
	}
	if err := r.readHeaders(); err != nil {
		return nil, fmt.Errorf("headers of %s: %w", r.frame.command, noEOF(err))
	}
	if err := r.readBody(); err != nil {
		return nil, fmt.Errorf("body of %s: %w", r.frame.command, noEOF(err))
	}
	return &r.frame, nil
}

// serverCommand returns the constant of a command that servers send, "" for others.
func serverCommand(line []byte) string {
	switch string(line) {
	case frame.RECEIPT:
		return frame.RECEIPT
	case frame.ERROR:
		return frame.ERROR
	case frame.CONNECTED:
		return frame.CONNECTED
	case frame.MESSAGE:
		return frame.MESSAGE
	}
	return ""
}

// line returns the next line without its end, valid until the next read.
func (r *frameReader) line() ([]byte, error) {
	line, err := r.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: a line of more than %d bytes: %.40q", errNotSTOMP, maxLine, line)
	}
	if err != nil {
		if len(line) > 0 {
			return nil, fmt.Errorf("%w after %.40q", noEOF(err), line)
		}
		return nil, err
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

func (r *frameReader) readHeaders() error {
	r.head, r.frame.headers = r.head[:0], r.frame.headers[:0]
	plain := r.frame.command == frame.CONNECTED // the one frame of a server without escapes
	for {
		line, err := r.line()
		if err != nil || len(line) == 0 {
			return err
		}
		if len(r.head)+len(line) > maxHead {
			return fmt.Errorf("%w: more than %d bytes", errNotSTOMP, maxHead)
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return fmt.Errorf("%w: header %.40q", errNotSTOMP, line)
		}
		name, value := r.keep(line[:colon], plain), r.keep(line[colon+1:], plain)
		r.frame.headers = append(r.frame.headers, header{name, value})
	}
}

// keep copies a part of a header line into head, without escapes. Sequences that STOMP does not define stay as they are.
func (r *frameReader) keep(text []byte, plain bool) []byte {
	start := len(r.head)
	if plain || bytes.IndexByte(text, '\\') < 0 {
		r.head = append(r.head, text...)
		return r.head[start:len(r.head):len(r.head)]
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' && i+1 < len(text) {
			if at := bytes.IndexByte([]byte(`\nrc`), text[i+1]); at >= 0 {
				c = "\\\n\r:"[at]
				i++
			}
		}
		r.head = append(r.head, c)
	}
	return r.head[start:len(r.head):len(r.head)]
}

// readBody reads the body and the NUL behind it. It keeps the beginning only, so that no length takes more memory.
func (r *frameReader) readBody() error {
	r.frame.body = r.frame.body[:0]
	text := r.frame.get(frame.ContentLength)
	if text == nil {
		return r.readBodyToNUL()
	}
	length, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil || length > maxSkipped {
		return fmt.Errorf("%w: content-length %.30q", errNotSTOMP, text)
	}
	kept := int(min(length, uint64(r.limit())))
	r.frame.body = slices.Grow(r.frame.body, kept)[:kept]
	if _, err := io.ReadFull(r.r, r.frame.body); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r.r, int64(length)-int64(kept)); err != nil {
		return err
	}
	end, err := r.r.ReadByte()
	if err == nil && end != 0 {
		err = fmt.Errorf("%w: no NUL behind %d bytes", errNotSTOMP, length)
	}
	return err
}

func (r *frameReader) readBodyToNUL() error {
	for skipped := 0; skipped <= maxSkipped; {
		chunk, err := r.r.ReadSlice(0)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if err == nil {
			chunk = chunk[:len(chunk)-1]
		}
		room := min(r.limit()-len(r.frame.body), len(chunk))
		r.frame.body = append(r.frame.body, chunk[:room]...)
		if err == nil {
			return nil
		}
		skipped += len(chunk)
	}
	return fmt.Errorf("%w: no end after %d bytes", errNotSTOMP, maxSkipped)
}

// noEOF keeps an end in the middle of a frame apart from one between two frames.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
