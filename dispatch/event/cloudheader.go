package event

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// headerPrefix begins the headers that carry attributes in the binary mode.
const headerPrefix = "ce-"

// Binary reports whether the headers of a request carry a CloudEvent in the
// binary mode: any of the attributes that every event has is there.
func Binary(header map[string][]string) bool {
	for name := range header {
		switch strings.ToLower(name) {
		case "ce-specversion", "ce-id", "ce-source", "ce-type":
			return true
		}
	}
	return false
}

// DecodeBinary reads a CloudEvent in the binary mode of the HTTP binding:
// attributes in headers, data in the body, of which the caller has checked
// that its content type is JSON. Otherwise it is like Decode.
func DecodeBinary(header map[string][]string, body []byte, o Options) ([]*Event, error) {
	o.fill()
	// INV event-1: the bytes are measured before anything is made of them.
	size := len(body)
	var names []string
	for name, values := range header {
		if len(name) <= len(headerPrefix) || !strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
			continue
		}
		names = append(names, name)
		size += len(name)
		for _, v := range values {
			size += len(v)
		}
	}
	if size > o.MaxEventBytes {
		return nil, tooLarge("", o.MaxEventBytes)
	}
	d := decoder{o: o}
	c := d.newCloudEvent("")
	slices.Sort(names) // the first fault is always the same one
	for _, name := range names {
		if err := c.takeHeader(strings.ToLower(name[len(headerPrefix):]), header[name]); err != nil {
			return nil, err
		}
	}
	if len(body) > 0 {
		if err := c.takeBytes("data", body); err != nil {
			return nil, err
		}
	}
	e, err := c.finish(&d)
	if err != nil {
		return nil, err
	}
	return []*Event{e}, nil
}

func (c *cloudEvent) takeHeader(name string, values []string) *Error {
	if err := c.next(name); err != nil {
		return err
	}
	if name == "data_base64" {
		return c.fault(name, "is not a name of an attribute: a to z and 0 to 9")
	}
	if len(values) != 1 {
		return c.fault(name, "is given twice")
	}
	if name == "datacontenttype" {
		return nil // Content-Type says it
	}
	text, ok := headerText(values[0])
	if !ok {
		return c.fault(name, "is not valid UTF-8")
	}
	if text == "" {
		return nil
	}
	if name == "time" {
		return c.takeTime(text)
	}
	if dst, _ := c.target(name); dst != nil {
		*dst = text
	}
	return nil
}

// headerText decodes the value of a header: first a quoted string, which older
// senders use, then percent signs. One that no two hexadecimal digits follow
// stands for itself, because there are senders that encode nothing.
func headerText(v string) (text string, ok bool) {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = unquoteHeader(v[1 : len(v)-1])
	}
	if strings.IndexByte(v, '%') >= 0 {
		var b strings.Builder
		for i := 0; i < len(v); i++ {
			if v[i] == '%' && i+2 < len(v) && isHex(v[i+1]) && isHex(v[i+2]) {
				b.WriteByte(unhex(v[i+1])<<4 | unhex(v[i+2]))
				i += 2
				continue
			}
			b.WriteByte(v[i])
		}
		v = b.String()
	}
	return v, utf8.ValidString(v)
}

// unquoteHeader removes the backslashes of a quoted string.
func unquoteHeader(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
