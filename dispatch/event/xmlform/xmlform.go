// Package xmlform writes JSON payloads as XML: keys become element names,
// arrays repeated elements, in the order of the JSON text. What it writes is
// well-formed whatever the payload holds, and the same for the same payload.
// A leaf: standard library only. See DESIGN.md.
package xmlform

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Form names the elements around the payloads:
// <Root><results><Item>…</Item>…</results></Root>.
type Form struct{ Root, Item string }

const list = "results"

// What can be wrong with a document.
var (
	ErrTooLarge = errors.New("the XML form is larger than the limit")
	errNotJSON  = errors.New("the payload is not a JSON object")
)

// Document writes payloads, each a JSON object, in at most limit bytes. An
// error means that these payloads have no XML form; it is the same each time.
//
// INV xmlform-1: the result depends on the payloads, form and limit alone.
func Document(form Form, payloads []json.RawMessage, limit int) ([]byte, error) {
	w := &writer{limit: limit}
	w.text(xml.Header)
	w.open(form.Root)
	w.open(list)
	for _, p := range payloads {
		w.payload(form.Item, p)
	}
	w.close(list)
	w.close(form.Root)
	if w.err != nil {
		return nil, w.err
	}
	return w.buf.Bytes(), nil
}

// writer keeps its first error; after it nothing is written.
type writer struct {
	buf   bytes.Buffer
	limit int
	err   error
}

// text writes s as it is.
//
// INV xmlform-2: no more than the limit is held. A name costs what it is long
// each time it is written, so that a small payload can ask for a large
// document.
func (w *writer) text(s string) {
	if w.err == nil && w.buf.Len()+len(s) > w.limit {
		w.err = ErrTooLarge
	}
	if w.err == nil {
		w.buf.WriteString(s)
	}
}

func (w *writer) open(name string) {
	w.text("<")
	w.text(name)
	w.text(">")
}

func (w *writer) close(name string) {
	w.text("</")
	w.text(name)
	w.text(">")
}

// escaped writes character data. What XML 1.0 cannot hold becomes U+FFFD.
func (w *writer) escaped(s string) {
	if w.err != nil {
		return
	}
	if w.buf.Len()+len(s) > w.limit { // escaping never shortens
		w.err = ErrTooLarge
		return
	}
	_ = xml.EscapeText(&w.buf, []byte(s)) // a Buffer takes everything
	if w.buf.Len() > w.limit {
		w.err = ErrTooLarge
	}
}

func (w *writer) payload(name string, p json.RawMessage) {
	dec := json.NewDecoder(bytes.NewReader(p))
	dec.UseNumber() // numbers go out as they were written
	t, err := dec.Token()
	if err != nil || t != json.Delim('{') {
		w.fail()
		return
	}
	w.value(dec, name, t)
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		w.fail()
	}
}

func (w *writer) fail() {
	if w.err == nil {
		w.err = errNotJSON
	}
}

// value writes one element of the value that begins with t.
func (w *writer) value(dec *json.Decoder, name string, t json.Token) {
	w.open(name)
	switch v := t.(type) {
	case json.Delim:
		if v == '{' {
			w.members(dec)
		} else { // a list within a list
			w.items(dec, name)
		}
	case string:
		w.escaped(v)
	case json.Number:
		w.text(v.String())
	case bool:
		if v {
			w.text("true")
		} else {
			w.text("false")
		}
	case nil:
	}
	w.close(name)
}

func (w *writer) members(dec *json.Decoder) {
	for w.err == nil && dec.More() {
		key, err := dec.Token()
		if err != nil {
			w.fail()
			return
		}
		k, _ := key.(string)
		name := Name(k)
		t, err := dec.Token()
		if err != nil {
			w.fail()
			return
		}
		if t == json.Delim('[') {
			w.items(dec, name)
		} else {
			w.value(dec, name, t)
		}
	}
	w.end(dec)
}

// items writes the items of a list as elements of one name.
func (w *writer) items(dec *json.Decoder, name string) {
	for w.err == nil && dec.More() {
		t, err := dec.Token()
		if err != nil {
			w.fail()
			return
		}
		w.value(dec, name, t)
	}
	w.end(dec)
}

// end takes the bracket that More stopped at.
func (w *writer) end(dec *json.Decoder) {
	if w.err != nil {
		return
	}
	if _, err := dec.Token(); err != nil {
		w.fail()
	}
}

// Name makes an element name of a key. Letters, digits, "_", "-" and "." of
// ASCII stay where a name may have them; everything else becomes _x and its
// code point in hexadecimal and _, such as _x0020_. So that no two keys have
// one name, the underscore before an x is written that way too, and the empty
// key is _x_. A name that begins with xml, which is reserved, does not either.
func Name(key string) string {
	if key == "" {
		return "_x_"
	}
	var b strings.Builder
	for i, r := range key {
		if plain(r, i == 0) && (r != '_' || !strings.HasPrefix(key[i:], "_x")) && (i > 0 || !reserved(key)) {
			b.WriteByte(byte(r)) //nolint:gosec // plain ones are ASCII
			continue
		}
		b.WriteString("_x")
		hex := strings.ToUpper(strconv.FormatInt(int64(r), 16))
		b.WriteString(strings.Repeat("0", max(0, 4-len(hex))))
		b.WriteString(hex)
		b.WriteByte('_')
	}
	return b.String()
}

func plain(r rune, first bool) bool {
	switch {
	case 'A' <= r && r <= 'Z', 'a' <= r && r <= 'z', r == '_':
		return true
	case '0' <= r && r <= '9', r == '-', r == '.':
		return !first
	}
	return false
}

func reserved(key string) bool { return len(key) >= 3 && strings.EqualFold(key[:3], "xml") }
