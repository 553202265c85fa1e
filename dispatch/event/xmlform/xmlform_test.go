package xmlform

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

var reports = Form{Root: "DeliveryReports", Item: "result"}

const (
	open     = xml.Header + "<DeliveryReports><results>"
	closeAll = "</results></DeliveryReports>"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		form     Form
		payloads []string
		want     string
	}{
		"report": {
			reports,
			[]string{`{"messageId":"m-1","status":{"groupId":3,"permanent":false},"price":0.020,"callbackData":null,"big":12345678901234567890123}`},
			open + "<result><messageId>m-1</messageId><status><groupId>3</groupId><permanent>false</permanent></status><price>0.020</price><callbackData></callbackData><big>12345678901234567890123</big></result>" + closeAll,
		},
		"two": {reports, []string{`{"a":true}`, `{"a":2e5}`}, open + "<result><a>true</a></result><result><a>2e5</a></result>" + closeAll},
		"voice": {
			Form{Root: "reportResponse", Item: "results"},
			[]string{`{"messageId":"m"}`, `{}`},
			xml.Header + "<reportResponse><results><results><messageId>m</messageId></results><results></results></results></reportResponse>",
		},
		"lists":     {reports, []string{`{"a":["x",{"b":1},null],"c":[]}`}, open + "<result><a>x</a><a><b>1</b></a><a></a></result>" + closeAll},
		"of lists":  {reports, []string{`{"a":[[1,2],[3],[]]}`}, open + "<result><a><a>1</a><a>2</a></a><a><a>3</a></a><a></a></result>" + closeAll},
		"order":     {reports, []string{`{"z":1,"a":2,"z":3}`}, open + "<result><z>1</z><a>2</a><z>3</z></result>" + closeAll},
		"escaped":   {reports, []string{`{"a":"<&>\"'\r\n\t ü 😀"}`}, open + "<result><a>&lt;&amp;&gt;&#34;&#39;&#xD;&#xA;&#x9; ü 😀</a></result>" + closeAll},
		"controls":  {reports, []string{`{"a":"\u0000\u001f\ufffe\ud800 ]]>"}`}, open + "<result><a>\ufffd\ufffd\ufffd\ufffd ]]&gt;</a></result>" + closeAll},
		"odd names": {reports, []string{`{"a b":1,"":2,"1":3}`}, open + "<result><a_x0020_b>1</a_x0020_b><_x_>2</_x_><_x0031_>3</_x0031_></result>" + closeAll},
	} {
		got, err := Document(tt.form, raw(tt.payloads...), len(tt.want))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, tt.want)
			continue
		}
		if _, err := Document(tt.form, raw(tt.payloads...), len(tt.want)-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: one byte above the limit: %v", name, err)
		}
		wellFormed(t, got)
	}
	for _, bad := range []string{"", "[]", "1", `{"a":`, `{"a":[1`, `{"a"}`, `{} {}`, `{}]`, `{"a":1]`} {
		if got, err := Document(reports, raw(bad), 1<<20); err == nil {
			t.Errorf("%q became %s", bad, got)
		}
	}
}

func raw(payloads ...string) (out []json.RawMessage) {
	for _, p := range payloads {
		out = append(out, json.RawMessage(p))
	}
	return out
}

// INV xmlform-2: a small payload that asks for a large document costs no more
// than the limit.
func TestDocument_repeatedNames(t *testing.T) {
	t.Parallel()
	bomb := `{"` + strings.Repeat("n", 1<<16) + `":[` + strings.Repeat("1,", 1<<16) + `1]}`
	w := &writer{limit: 1 << 20}
	w.payload("result", json.RawMessage(bomb))
	if !errors.Is(w.err, ErrTooLarge) || w.buf.Len() > 1<<20 {
		t.Errorf("%v after %d bytes", w.err, w.buf.Len())
	}
	w = &writer{limit: 1 << 10}
	w.escaped(strings.Repeat("<", 1<<9))
	if !errors.Is(w.err, ErrTooLarge) {
		t.Error("escaping goes beyond the limit")
	}
}

// wellFormed reads a document to its end.
func wellFormed(t *testing.T, doc []byte) {
	t.Helper()
	if !utf8.Valid(doc) {
		t.Fatalf("not UTF-8: %q", doc)
	}
	dec := xml.NewDecoder(bytes.NewReader(doc))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v\n%q", err, doc)
		}
	}
}

// key is the inverse of Name.
func key(t *testing.T, name string) string {
	t.Helper()
	if name == "_x_" {
		return ""
	}
	var b strings.Builder
	for rest := name; rest != ""; {
		before, after, ok := strings.Cut(rest, "_x")
		b.WriteString(before)
		if !ok {
			break
		}
		hex, tail, ok := strings.Cut(after, "_")
		n, err := strconv.ParseInt(hex, 16, 32)
		if !ok || err != nil || len(hex) < 4 {
			t.Fatalf("%s is no name of a key", name)
		}
		b.WriteRune(rune(n))
		rest = tail
	}
	return b.String()
}

func TestName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"messageId": "messageId", "a-b.c_d1": "a-b.c_d1", "": "_x_", "_x_": "_x005F_x_", "_": "_", "x": "x", "_x0020_": "_x005F_x0020_", "__x": "__x005F_x",
		" ": "_x0020_", "1a": "_x0031_a", "-a": "_x002D_a", ".": "_x002E_", "a:b": "a_x003A_b", "é": "_x00E9_", "😀": "_x1F600_", "xml": "_x0078_ml", "XMLa": "_x0058_MLa",
		"axml": "axml", "\x00": "_x0000_", "<a>": "_x003C_a_x003E_", "_xml": "_x005F_xml",
	} {
		got := Name(in)
		if got != want {
			t.Errorf("%q is called %s, want %s", in, got, want)
		}
		if back := key(t, got); back != in {
			t.Errorf("%s is read as %q, want %q", got, back, in)
		}
	}
}

// Whatever a payload holds, the document is well-formed, within the limit and
// the same the second time, and the names of keys can be read back.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,[2,{"b":null}],"\u0000<&"],"":{"é :":true},"xmlns":"1"}`, `{"_x0020_":-0.5e+3}`, `[1]`, `{"a":1`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var object map[string]any
		isObject := utf8.Valid(p) && json.Unmarshal(p, &object) == nil && object != nil
		const limit = 1 << 16
		doc, err := Document(reports, []json.RawMessage{p, p}, limit)
		switch {
		case errors.Is(err, ErrTooLarge):
			return
		case err != nil && isObject:
			t.Fatalf("%q has no form: %v", p, err)
		case err != nil:
			return
		case len(doc) > limit:
			t.Fatalf("%d bytes", len(doc))
		}
		if !isObject {
			if json.Valid(p) {
				t.Fatalf("%q became %s", p, doc)
			}
			return // the caller gives valid JSON; anything goes that does not fail
		}
		wellFormed(t, doc)
		if again, _ := Document(reports, []json.RawMessage{p, p}, limit); !bytes.Equal(doc, again) {
			t.Fatal("the second time is another one")
		}
		for k := range object {
			if back := key(t, Name(k)); back != k {
				t.Fatalf("%q is read back as %q", k, back)
			}
		}
	})
}
