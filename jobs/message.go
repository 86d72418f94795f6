package jobs

import "time"

// Message is one row's event, checked and ready to send. Its byte slices are valid until the batch it was built
// from is released.
type Message struct {
	RowID       int64
	EventID     []byte   // the same for every repeat; also in Headers
	Key         string   // Row.Key
	Destination string   // as in "/queue/modulo.events"; one that the job allows
	Headers     []Header // besides destination, persistent and those of the protocol; valid names, no duplicates
	Body        []byte
	Binary      bool      // a BytesMessage; otherwise a TextMessage: valid UTF-8 without NUL
	InsertedAt  time.Time // Row.InsertedAt
}

// Header is a message header. The value is valid UTF-8 without NUL; the adapter escapes it.
type Header struct {
	Name  string
	Value []byte
}

// Size is the number of bytes a message takes on the wire, roughly: what limits by bytes are counted in.
func (m Message) Size() int {
	n := len(m.Destination) + len(m.Body) + 64
	for _, h := range m.Headers {
		n += len(h.Name) + len(h.Value) + 2
	}
	return n
}

// MessageSpec says how a row becomes a message. Templates name columns in braces, as in "/queue/{region}.invoice";
// "{{" and "}}" are literal braces.
type MessageSpec struct {
	Destination string   // template
	Reserved    []string // beginnings of names, in small letters, that no pattern of Allow matches
	Allow       []string // patterns of destinations; "*" stands for a name of [A-Za-z0-9._-]{1,200}
	Payload     Payload
	Headers     []HeaderSpec
	// HeadersColumn is a json column with more headers: an object of strings. Optional.
	HeadersColumn string
	EventID       string // template; the same for every repeat of the event
	MaxBody       int    // bytes
}

// HeaderSpec is a header from the configuration. A header whose template is one single column is left out where the
// column is null.
type HeaderSpec struct{ Name, Template string }

// Payload says what the body is: exactly one of the three.
type Payload struct {
	Row     bool     // a JSON object of Columns; of all columns if there are none
	Columns []string // only with Row
	Column  string   // the value of one column
	SQL     string   // an SQL expression of the operator
}
