package fsm

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
	"unicode/utf8"
)

// A filter looks at a few members of very many rows, and decoding a row costs
// ten times as much as finding its members. The functions below read rows as
// encodeRow writes them, JSON without white space, where they are in the file.
// What they give is valid until the transaction ends.

// members runs over the members of an object: the name, and the value as it is
// written. A nil object has none.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := 1; i < len(object) && object[i] != '}'; {
			end := stringEnd(object, i)
			if end >= len(object) || object[end] != ':' {
				damaged()
			}
			name, begin := object[i+1:end-1], end+1
			end = valueEnd(object, begin)
			if !yield(name, object[begin:end]) {
				return
			}
			if i = end; i < len(object) && object[i] == ',' {
				i++
			}
		}
	}
}

// elements runs over the values of an array, as they are written. A nil array
// has none.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 1; i < len(array) && array[i] != ']'; {
			end := valueEnd(array, i)
			if !yield(array[i:end]) {
				return
			}
			if i = end; i < len(array) && array[i] == ',' {
				i++
			}
		}
	}
}

// valueEnd is where the value that begins at i ends.
func valueEnd(b []byte, i int) int {
	if i >= len(b) {
		damaged()
	}
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		for depth := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				i = stringEnd(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		damaged()
	}
	n := bytes.IndexAny(b[i:], ",]}") // a number, true, false or null
	if n <= 0 {
		damaged()
	}
	return i + n
}

// stringEnd is where the string that begins at i ends.
func stringEnd(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		damaged()
	}
	for begin := i + 1; ; {
		n := bytes.IndexByte(b[begin:], '"')
		if n < 0 {
			damaged()
		}
		end := begin + n
		// Behind an odd number of backslashes it is part of the text.
		k := end
		for b[k-1] == '\\' {
			k--
		}
		if (end-k)%2 == 0 {
			return end + 1
		}
		begin = end + 1
	}
}

// damaged stops the node as decodeRow does, and for the same reason.
func damaged() { panic("fsm: damaged row: restore this node from a snapshot") }

// text is the text of a value that is a string.
func text(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		damaged()
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		damaged()
	}
	return []byte(s)
}

// number is a value that is a whole number of 0 or more.
func number(value []byte) (n uint64) {
	for _, c := range value {
		if c < '0' || c > '9' {
			damaged()
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// names reports whether an element of a list of objects has the value want in
// a member that is a string.
func names(list []byte, member, want string) bool {
	for object := range elements(list) {
		for name, value := range members(object) {
			if string(name) == member && string(text(value)) == want {
				return true
			}
		}
	}
	return false
}

// holds reports whether a list of strings has want.
func holds(list []byte, want string) bool {
	for value := range elements(list) {
		if string(text(value)) == want {
			return true
		}
	}
	return false
}

// needle is what a search looks for. Case does not count, by Unicode's simple
// rules of lower case; accents do.
type needle struct {
	low []byte
	buf []byte // the text that was looked at, in lower case
}

func needleOf(search string) *needle { return &needle{low: []byte(strings.ToLower(search))} }

// any reports whether everything fits.
func (n *needle) any() bool { return len(n.low) == 0 }

// in reports whether the needle is in the text.
func (n *needle) in(text []byte) bool {
	n.buf = n.buf[:0]
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return bytes.Contains(bytes.ToLower(text), n.low)
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		n.buf = append(n.buf, c)
	}
	return bytes.Contains(n.buf, n.low)
}
