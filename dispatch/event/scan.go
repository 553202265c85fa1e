package event

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// scanner walks JSON text once. Its methods leave i behind what they took.
type scanner struct {
	b []byte
	i int
}

// fault is what is wrong at the place the scanner stands.
func (s *scanner) fault(pointer string) *Error {
	return &Error{Pointer: pointer, Reason: "is not valid JSON near byte " + strconv.Itoa(s.i)}
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek gives the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// take moves over c when it is next.
func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

type scanResult int

const (
	scanOK scanResult = iota
	scanBad
	scanDeep
)

// skip moves over one value that may hold objects and arrays in up to depth
// levels, itself included.
func (s *scanner) skip(depth int) scanResult {
	s.space()
	switch c := s.peek(); {
	case c == '{':
		return s.skipList(depth, '}', true)
	case c == '[':
		return s.skipList(depth, ']', false)
	case c == '"':
		return s.text()
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	default:
		return scanBad
	}
}

func (s *scanner) skipList(depth int, end byte, named bool) scanResult {
	if depth <= 0 {
		return scanDeep
	}
	s.i++
	s.space()
	if s.take(end) {
		return scanOK
	}
	for {
		if named {
			s.space()
			if s.peek() != '"' || s.text() != scanOK {
				return scanBad
			}
			s.space()
			if !s.take(':') {
				return scanBad
			}
		}
		if r := s.skip(depth - 1); r != scanOK {
			return r
		}
		s.space()
		if s.take(end) {
			return scanOK
		}
		if !s.take(',') {
			return scanBad
		}
	}
}

func (s *scanner) word(w string) scanResult {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return scanBad
	}
	s.i += len(w)
	return scanOK
}

// text moves over a string, quotes included.
func (s *scanner) text() scanResult {
	s.i++
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return scanOK
		case c < 0x20:
			return scanBad
		case c == '\\':
			if !s.escape() {
				return scanBad
			}
		default:
			s.i++
		}
	}
	return scanBad
}

func (s *scanner) escape() bool {
	s.i++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return true
	case 'u':
		s.i++
		for range 4 {
			if !isHex(s.peek()) {
				return false
			}
			s.i++
		}
		return true
	default:
		return false
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) digits() bool {
	from := s.i
	for '0' <= s.peek() && s.peek() <= '9' {
		s.i++
	}
	return s.i > from
}

func (s *scanner) number() scanResult {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return scanBad
	}
	if s.take('.') && !s.digits() {
		return scanBad
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return scanBad
		}
	}
	return scanOK
}

// unquote decodes a string that text has moved over.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') >= 0 {
		var out string
		_ = json.Unmarshal(raw, &out) // checked by text: cannot fail
		return out
	}
	return string(raw[1 : len(raw)-1])
}
