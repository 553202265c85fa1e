package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"example.com/belfry/fsm/model"
)

const (
	maxJSONDepth   = 32
	maxJSONMembers = 20_000 // values in one body of the config API
)

// object is a JSON object with the order of its members kept, so that
// complaints come in the order of the body.
type object struct {
	names  []string
	values map[string]any
}

// treeReader builds a bounded tree of nil, bool, string, json.Number, []any
// and *object.
type treeReader struct {
	dec   *json.Decoder
	count int
}

// parseJSON reads exactly one JSON value. Its errors name positions and paths,
// never values.
func parseJSON(b []byte) (any, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, model.Errorf(model.CodeInvalid, "the body is empty; it must hold a JSON value")
	}
	if !utf8.Valid(b) {
		return nil, model.Errorf(model.CodeInvalid, "the body is not valid UTF-8")
	}
	t := treeReader{dec: json.NewDecoder(bytes.NewReader(b))}
	t.dec.UseNumber()
	v, err := t.value("", 0)
	if err != nil {
		return nil, err
	}
	if _, err := t.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, model.Errorf(model.CodeInvalid, "the body goes on after its JSON value")
	}
	return v, nil
}

func (t *treeReader) syntax() error {
	return model.Errorf(model.CodeInvalid, "the body is not valid JSON near byte %d", t.dec.InputOffset())
}

func (t *treeReader) value(path string, depth int) (any, error) {
	tok, err := t.dec.Token()
	if err != nil {
		return nil, t.syntax()
	}
	if t.count++; t.count > maxJSONMembers {
		return nil, model.Errorf(model.CodeInvalid, "the body holds more than %d values", maxJSONMembers)
	}
	d, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if depth >= maxJSONDepth {
		return nil, model.Errorf(model.CodeInvalid, "the body is nested deeper than %d levels", maxJSONDepth)
	}
	switch d {
	case '{':
		return t.object(path, depth)
	case '[':
		var list []any
		for t.dec.More() {
			v, err := t.value(path+"["+strconv.Itoa(len(list))+"]", depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		if _, err := t.dec.Token(); err != nil {
			return nil, t.syntax()
		}
		if list == nil {
			list = []any{}
		}
		return list, nil
	default:
		return nil, t.syntax()
	}
}

func (t *treeReader) object(path string, depth int) (any, error) {
	o := &object{values: map[string]any{}}
	for t.dec.More() {
		tok, err := t.dec.Token()
		if err != nil {
			return nil, t.syntax()
		}
		name, ok := tok.(string)
		if !ok {
			return nil, t.syntax()
		}
		at := join(path, name)
		if _, dup := o.values[name]; dup {
			return nil, model.Invalid(at, "is given twice")
		}
		v, err := t.value(at, depth+1)
		if err != nil {
			return nil, err
		}
		o.names = append(o.names, name)
		o.values[name] = v
	}
	if _, err := t.dec.Token(); err != nil {
		return nil, t.syntax()
	}
	return o, nil
}

// maxShownName bounds a member name in an answer.
const maxShownName = 64

// join appends a member to a path. A name that is long or not plain is cut or
// replaced: names come from the client and end in our answers.
func join(path, name string) string {
	if len(name) > maxShownName {
		name = name[:maxShownName]
	}
	name = safeName(name)
	if path == "" {
		return name
	}
	return path + "." + name
}

func safeName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c >= 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}
