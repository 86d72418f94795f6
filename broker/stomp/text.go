package stomp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"modulo/jobs"
)

// body is what follows the head of a SEND frame.
//
// ActiveMQ Classic before 5.18.6 and 6.1.4 keeps the body of a TextMessage as it is, for its clients to read in Java's
// modified UTF-8, where the four bytes of a character beyond U+FFFF, an emoji for one, end in a UTFDataFormatException at
// the consumer (AMQ-8398). Later versions convert it, and would turn what is meant for the earlier ones into U+FFFD.
// JSON can do without them, for every reader; any other text gets the pairs of surrogates of three bytes each that
// Java wants.
func (d dialect) body(m *jobs.Message) []byte {
	switch {
	case m.Binary || !d.javaText || !beyondBMP(m.Body):
		return m.Body
	case json.Valid(m.Body):
		return replaceBeyondBMP(m.Body, appendEscapedSurrogate)
	}
	return replaceBeyondBMP(m.Body, appendSurrogate)
}

// replaceBeyondBMP writes the characters of four bytes as pairs of surrogates.
func replaceBeyondBMP(text []byte, write func([]byte, rune) []byte) []byte {
	replaced := make([]byte, 0, len(text)+len(text)/4)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if size < 4 {
			replaced = append(replaced, text[:size]...)
		} else {
			high, low := utf16.EncodeRune(r)
			replaced = write(write(replaced, high), low)
		}
		text = text[size:]
	}
	return replaced
}

// beyondBMP says whether valid UTF-8 holds a character of four bytes, by the bytes such a character begins with.
func beyondBMP(text []byte) bool {
	for first := byte(0xF0); first <= 0xF4; first++ {
		if bytes.IndexByte(text, first) >= 0 {
			return true
		}
	}
	return false
}

// appendEscapedSurrogate writes an escape of JSON.
func appendEscapedSurrogate(b []byte, r rune) []byte { return fmt.Appendf(b, `\u%04x`, r) }

// appendSurrogate writes three bytes that UTF-8 itself does not allow.
func appendSurrogate(b []byte, r rune) []byte {
	return append(b, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}
