package api

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// nodeDecoder is a wire type that has more than one JSON form.
type nodeDecoder interface {
	// decodeNode fills the receiver from a node of the tree and records what
	// is wrong with it at path.
	decodeNode(node any, path string, v *model.Violations)
}

// decode reads the body into dst, a pointer to a struct (or slice) with json
// tags. Every type error and every missing required member is named; unknown
// members are ignored on the contract and refused elsewhere.
func (r *request) decode(dst any) error {
	b, err := r.body()
	if err != nil {
		return err
	}
	return decodeJSON(b, dst, r.route.surface == surfaceOwn)
}

// decodeJSON is decode without a request; strict refuses unknown members.
func decodeJSON(b []byte, dst any, strict bool) error {
	tree, err := parseJSON(b)
	if err != nil {
		return err
	}
	d := decoder{strict: strict}
	d.into(reflect.ValueOf(dst).Elem(), tree, "")
	return d.v.Err()
}

type decoder struct {
	strict bool
	v      model.Violations
}

var (
	typeTime   = reflect.TypeFor[time.Time]()
	typeSecret = reflect.TypeFor[model.Secret]()
	typeRaw    = reflect.TypeFor[json.RawMessage]()
)

// into fills dst from node. null leaves dst as it is, but for Opt.
func (d *decoder) into(dst reflect.Value, node any, path string) {
	if isOpt(dst.Type()) {
		dst.FieldByName("Set").SetBool(true)
		if node == nil {
			dst.FieldByName("Null").SetBool(true)
			return
		}
		d.into(dst.FieldByName("Value"), node, path)
		return
	}
	if nd, ok := reflect.TypeAssert[nodeDecoder](dst.Addr()); ok {
		if node != nil {
			nd.decodeNode(node, path, &d.v)
		}
		return
	}
	if dst.Type() == typeRaw {
		dst.SetBytes(encodeNode(node))
		return
	}
	if node == nil {
		if path == "" {
			d.v.Add("body", "must not be null")
		}
		return
	}
	switch {
	case dst.Type() == typeSecret:
		if s, ok := d.text(node, path); ok {
			dst.Set(reflect.ValueOf(model.NewSecret(s)))
		}
	case dst.Type() == typeTime:
		d.time(dst, node, path)
	default:
		d.kind(dst, node, path)
	}
}

func (d *decoder) kind(dst reflect.Value, node any, path string) {
	switch dst.Kind() { //nolint:exhaustive // wire types use these kinds only; the default is a programming error
	case reflect.Pointer:
		v := reflect.New(dst.Type().Elem())
		d.into(v.Elem(), node, path)
		dst.Set(v)
	case reflect.String:
		if s, ok := d.text(node, path); ok {
			dst.SetString(s)
		}
	case reflect.Bool:
		if b, ok := node.(bool); ok {
			dst.SetBool(b)
		} else {
			d.wrong(path, "true or false")
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if n, ok := node.(json.Number); !ok {
			d.wrong(path, "a whole number")
		} else if i, ok := wholeNumber(n); !ok || dst.OverflowInt(i) {
			d.wrong(path, "a whole number")
		} else {
			dst.SetInt(i)
		}
	case reflect.Float64:
		n, ok := node.(json.Number)
		f, err := strconv.ParseFloat(string(n), 64)
		if !ok || err != nil {
			d.wrong(path, "a number")
			return
		}
		dst.SetFloat(f)
	case reflect.Slice:
		d.slice(dst, node, path)
	case reflect.Map:
		d.mapping(dst, node, path)
	case reflect.Struct:
		d.structure(dst, node, path)
	default:
		panic("api: wire type of kind " + dst.Kind().String())
	}
}

func (d *decoder) text(node any, path string) (string, bool) {
	s, ok := node.(string)
	if !ok {
		d.wrong(path, "a string")
	}
	return s, ok
}

func (d *decoder) time(dst reflect.Value, node any, path string) {
	s, ok := node.(string)
	if ok {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			dst.Set(reflect.ValueOf(t))
			return
		}
	}
	d.wrong(path, "a time such as 2026-01-31T12:00:00Z")
}

func (d *decoder) slice(dst reflect.Value, node any, path string) {
	list, ok := node.([]any)
	if !ok {
		d.wrong(path, "an array")
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, n := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		if n == nil {
			d.v.Add(at, "must not be null")
			continue
		}
		d.into(out.Index(i), n, at)
	}
	dst.Set(out)
}

func (d *decoder) mapping(dst reflect.Value, node any, path string) {
	o, ok := node.(*object)
	if !ok {
		d.wrong(path, "an object")
		return
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(o.names))
	for _, name := range o.names {
		v := reflect.New(dst.Type().Elem()).Elem()
		at := join(path, name)
		if o.values[name] == nil && !isOpt(v.Type()) {
			d.v.Add(at, "must not be null")
			continue
		}
		d.into(v, o.values[name], at)
		out.SetMapIndex(reflect.ValueOf(name).Convert(dst.Type().Key()), v)
	}
	dst.Set(out)
}

func (d *decoder) structure(dst reflect.Value, node any, path string) {
	o, ok := node.(*object)
	if !ok {
		d.wrong(path, "an object")
		return
	}
	known := map[string]bool{}
	d.fields(dst, o, path, known)
	if !d.strict {
		return
	}
	for _, name := range o.names {
		if !known[name] {
			d.v.Add(join(path, name), "is not a member that is known here")
		}
	}
}

func (d *decoder) fields(dst reflect.Value, o *object, path string, known map[string]bool) {
	t := dst.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			d.fields(dst.Field(i), o, path, known)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		known[name] = true
		node, present := o.values[name]
		if f.Tag.Get("api") == "required" && node == nil {
			d.v.Add(join(path, name), "must not be null or absent")
			continue
		}
		if present {
			d.into(dst.Field(i), node, join(path, name))
		}
	}
}

func (d *decoder) wrong(path, want string) {
	if path == "" {
		path = "body"
	}
	d.v.Add(path, "must be %s", want)
}

// isOpt recognises model.Opt[T] of any T.
func isOpt(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == typeSecret.PkgPath() && strings.HasPrefix(t.Name(), "Opt[")
}

// wholeNumber takes 20, 2e1 and 20.0 alike: JSON does not tell them apart.
func wholeNumber(n json.Number) (int64, bool) {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i, true
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// encodeNode turns a node of the tree back into JSON.
func encodeNode(node any) []byte {
	switch n := node.(type) {
	case *object:
		out := []byte{'{'}
		for i, name := range n.names {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(append(out, encodeNode(name)...), ':'), encodeNode(n.values[name])...)
		}
		return append(out, '}')
	case []any:
		out := []byte{'['}
		for i, v := range n {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, encodeNode(v)...)
		}
		return append(out, ']')
	default:
		b, _ := json.Marshal(n) // nil, bool, string, json.Number: cannot fail
		return b
	}
}
