package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// maxList is the most entries that a list may have.
const maxList = 64

// Bytes is a size. It is written as a number with an optional unit: B, KiB,
// MiB, GiB or TiB.
type Bytes int64

var units = []struct {
	name string
	size Bytes
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String gives the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return "0B"
}

// ParseBytes reads what String writes.
func ParseBytes(s string) (Bytes, error) {
	size := Bytes(1)
	num := s
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			num, size = n, u.size
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(num), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(size) {
		return 0, errors.New("must be a size such as 256KiB (units B, KiB, MiB, GiB, TiB)")
	}
	return Bytes(n) * size, nil
}

// field is one row of the table that the tags of Config make.
type field struct {
	index   int
	section string
	flag    string
	env     string
	key     string
	arg     string
	help    string
	def     string
	enum    []string
	min     string
	max     string
	secret  bool
	typ     reflect.Type
}

var (
	typeDuration = reflect.TypeFor[time.Duration]()
	typeBytes    = reflect.TypeFor[Bytes]()
	typeSecret   = reflect.TypeFor[model.Secret]()
)

// table is computed once from the type; it is never changed.
var table = buildTable(reflect.TypeFor[Config]())

func buildTable(t reflect.Type) []field {
	var fs []field
	section := ""
	for i := range t.NumField() {
		sf := t.Field(i)
		section = cmp.Or(sf.Tag.Get("section"), section)
		f := field{
			index: i, section: section, flag: sf.Tag.Get("flag"), arg: sf.Tag.Get("arg"), help: sf.Tag.Get("help"),
			def: sf.Tag.Get("default"), min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			secret: sf.Tag.Get("secret") != "", typ: sf.Type,
		}
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, ",")
			f.arg = strings.Join(f.enum, "|")
		}
		f.env = "BELFRY_" + strings.ToUpper(strings.ReplaceAll(f.flag, "-", "_"))
		f.key = camel(f.flag)
		f.arg = cmp.Or(f.arg, typeArg(f.typ))
		fs = append(fs, f)
	}
	return fs
}

// camel turns node-id into nodeId.
func camel(flag string) string {
	parts := strings.Split(flag, "-")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

func typeArg(t reflect.Type) string {
	switch {
	case t == typeDuration:
		return "DURATION"
	case t == typeBytes:
		return "SIZE"
	case t == typeSecret:
		return "SECRET"
	case t.Kind() == reflect.Int:
		return "N"
	default:
		return "TEXT"
	}
}

// name is how a message calls the field.
func (f *field) name() string {
	if f.secret {
		return f.env
	}
	return "--" + f.flag
}

func (f *field) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().Field(f.index) }

func (f *field) list() bool { return f.typ.Kind() == reflect.Slice }

// set parses text into the field. A list takes entries separated by commas.
func (f *field) set(c *Config, text string) error {
	if !f.list() {
		return f.setScalar(f.value(c), text)
	}
	var entries []string
	if strings.TrimSpace(text) != "" {
		entries = strings.Split(text, ",")
	}
	return f.setList(c, entries)
}

func (f *field) setList(c *Config, entries []string) error {
	if len(entries) > maxList {
		return fmt.Errorf("must have at most %d entries, has %d", maxList, len(entries))
	}
	out := reflect.MakeSlice(f.typ, 0, len(entries))
	for _, e := range entries {
		v := reflect.New(f.typ.Elem()).Elem()
		if err := f.setScalar(v, strings.TrimSpace(e)); err != nil {
			return err
		}
		out = reflect.Append(out, v)
	}
	f.value(c).Set(out)
	return nil
}

// setScalar parses text by the type of v. Its errors complete the sentence
// that begins with the name of the field; they never repeat a secret.
func (f *field) setScalar(v reflect.Value, text string) error {
	switch v.Type() {
	case typeDuration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("must be a duration such as 300ms, 30s or 24h")
		}
		v.SetInt(int64(d))
		return nil
	case typeBytes:
		b, err := ParseBytes(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(b))
		return nil
	case typeSecret:
		v.Set(reflect.ValueOf(model.NewSecret(text)))
		return nil
	}
	switch v.Kind() { //nolint:exhaustive // the kinds that Config has; the tests set every field
	case reflect.String:
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("must not contain control characters")
		}
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("must be true or false")
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, strconv.IntSize)
		if err != nil {
			return errors.New("must be a whole number")
		}
		v.SetInt(n)
	case reflect.Uint16:
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return errors.New("must be a port between 1 and 65535")
		}
		v.SetUint(n)
	default:
		return fmt.Errorf("has the type %s, which cannot be set", v.Type())
	}
	return nil
}

// entries gives the value as text, one entry per element of a list. Secrets
// come out redacted.
func (f *field) entries(c *Config) []string {
	v := f.value(c)
	if !f.list() {
		return []string{scalarText(v)}
	}
	out := make([]string, v.Len())
	for i := range out {
		out[i] = scalarText(v.Index(i))
	}
	return out
}

func scalarText(v reflect.Value) string {
	if s, ok := reflect.TypeAssert[model.Secret](v); ok {
		if s.IsZero() {
			return ""
		}
		return s.String()
	}
	if v.Type() == typeDuration {
		return shortDuration(time.Duration(v.Int()))
	}
	return fmt.Sprint(v.Interface())
}

// shortDuration drops the zero parts that time.Duration prints: 24h, not
// 24h0m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

// inRange checks enum, min and max of a value that was parsed or assigned.
func (f *field) inRange(c *Config) error {
	v := f.value(c)
	if f.enum != nil && !slices.Contains(f.enum, v.String()) {
		return fmt.Errorf("must be one of %s", strings.Join(f.enum, ", "))
	}
	if f.min == "" {
		return nil
	}
	lo, hi := reflect.New(f.typ).Elem(), reflect.New(f.typ).Elem()
	if err := errors.Join(f.setScalar(lo, f.min), f.setScalar(hi, f.max)); err != nil {
		return err
	}
	if v.Int() < lo.Int() || v.Int() > hi.Int() {
		return fmt.Errorf("must be between %s and %s, is %s", f.min, f.max, scalarText(v))
	}
	return nil
}
