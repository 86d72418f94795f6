package stomp

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-stomp/stomp/v3/frame"
)

func TestReadFrames(t *testing.T) {
	t.Parallel()
	const stream = "\n\r\n\nRECEIPT\nreceipt-id:7\n\n\x00\n" +
		"ERROR\r\nmessage:a\\cb\\\\c\\nd\\re\\tf\\\r\ncontent-length:3\r\nmessage:second\r\n\r\n\x00\n\x00\x00" +
		"MESSAGE\nempty:\n\nbody \xff\x00"
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			frames := newFrameReader(r)
			expect := func(command, name, value, body string) {
				t.Helper()
				f, err := frames.next()
				if err != nil {
					t.Fatal(err)
				}
				if f.command != command || string(f.get(name)) != value || string(f.body) != body {
					t.Errorf("got %s, %s %q, body %q", f.command, name, f.get(name), f.body)
				}
				if f.get("absent") != nil {
					t.Error("a header that is not there")
				}
			}
			expect("RECEIPT", "receipt-id", "7", "")
			expect("ERROR", "message", "a:b\\c\nd\re\\tf\\", "\x00\n\x00")
			expect("MESSAGE", "empty", "", "body \xff")
			if _, err := frames.next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestReadWhatIsNotSTOMP(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"HTTP":                   "HTTP/1.1 400 Bad Request\r\n\r\n",
		"command of a client":    "SEND\n\n\x00",
		"endless line":           strings.Repeat("a", maxLine+1),
		"endless headers":        "ERROR\n" + strings.Repeat("a:"+strings.Repeat("b", 1000)+"\n", 100),
		"header without a colon": "ERROR\nmessage\n\n\x00",
		"header without a name":  "ERROR\n:message\n\n\x00",
		"negative length":        "ERROR\ncontent-length:-1\n\n\x00",
		"length of 4 GiB":        "ERROR\ncontent-length:4294967295\n\n\x00",
		"length of 2^64":         "ERROR\ncontent-length:18446744073709551616\n\n\x00",
		"length that is short":   "ERROR\ncontent-length:1\n\nab\x00",
	} {
		if f, err := newFrameReader(strings.NewReader(stream)).next(); !errors.Is(err, errNotSTOMP) {
			t.Errorf("%s: %+v, %v", name, f, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

// An end inside of a frame is not the end of the connection between two frames, at whatever byte.
func TestReadCutFrame(t *testing.T) {
	t.Parallel()
	const stream = "RECEIPT\nreceipt-id:7\n\n\x00"
	for n := 1; n < len(stream); n++ {
		if f, err := newFrameReader(strings.NewReader(stream[:n])).next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %+v, %v", stream[:n], f, err)
		}
	}
}

// Case 11: an ERROR of many megabytes costs no more memory than its beginning. Not parallel: it counts allocations.
func TestReadHugeBodies(t *testing.T) {
	const size = 32 << 20
	zeros := func() io.Reader { return io.LimitReader(endless('x'), size) }
	for name, r := range map[string]io.Reader{
		"with a length": io.MultiReader(strings.NewReader("ERROR\ncontent-length:33554432\n\n"), zeros(), strings.NewReader("\x00")),
		"up to NUL":     io.MultiReader(strings.NewReader("ERROR\n\n"), zeros(), strings.NewReader("\x00")),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := newFrameReader(io.MultiReader(r, strings.NewReader("RECEIPT\n\n\x00"))).next()
		runtime.ReadMemStats(&after)
		if err != nil || len(f.body) != maxBody {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
}

type endless byte

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

var hugeLength = regexp.MustCompile(`content-length:\+?[0-9]{7,}`)

// FuzzReadFrame: no input makes the reader panic or keep more than its limits, and where go-stomp's reader finds a frame
// of a server within those limits, this one finds the same.
func FuzzReadFrame(f *testing.F) {
	for _, seed := range []string{
		"CONNECTED\nversion:1.2\nserver:ActiveMQ/5.17.2\nheart-beat:0,0\n\n\x00\n",
		"RECEIPT\nreceipt-id:1\n\n\x00\nRECEIPT\r\nreceipt-id:2\r\n\r\n\x00",
		"ERROR\nmessage:a\\cb\ncontent-length:3\n\n\x00\n\x00\x00",
		"MESSAGE\na:b\n\nbody\x00", "ERROR\n:x\n\n\x00", "\n\n\n", "HTTP/1.1 200 OK\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		ours := newFrameReader(bytes.NewReader(stream))
		theirs := frame.NewReader(bytes.NewReader(stream))
		for {
			got, err := ours.next()
			if err == nil && len(got.body) > maxBody {
				t.Fatalf("a body of %d bytes", len(got.body))
			}
			if hugeLength.Match(stream) {
				return // go-stomp's reader would allocate it
			}
			want, theirErr := theirs.Read()
			for want == nil && theirErr == nil {
				want, theirErr = theirs.Read()
			}
			if theirErr != nil || serverCommand([]byte(want.Command)) == "" || want.Command == "CONNECTED" {
				return
			}
			if errors.Is(err, errNotSTOMP) && (len(stream) > maxLine || strings.Contains(err.Error(), "content-length")) {
				return // beyond our limits
			}
			if err != nil {
				t.Fatalf("%q: %v, go-stomp reads %s", stream, err, want.Command)
			}
			same(t, got, want)
		}
	})
}

func same(t *testing.T, got *inbound, want *frame.Frame) {
	t.Helper()
	if got.command != want.Command || len(got.headers) != want.Header.Len() {
		t.Fatalf("got %s with %d headers, want %s with %d", got.command, len(got.headers), want.Command, want.Header.Len())
	}
	for i, h := range got.headers {
		if name, value := want.Header.GetAt(i); string(h.name) != name || string(h.value) != value {
			t.Fatalf("header %d is %q: %q, want %q: %q", i, h.name, h.value, name, value)
		}
	}
	if !bytes.Equal(got.body, want.Body[:min(len(want.Body), maxBody)]) {
		t.Fatalf("body %q, want %q", got.body, want.Body)
	}
}
