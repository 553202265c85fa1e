package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func options() Options {
	n := 0
	return Options{
		Account: "acme", ReceivedAt: time.Unix(1, 0),
		Known: func(channel, event string) Knowledge {
			switch {
			case channel == "BELFRY":
				return ReservedChannel
			case channel != "SMS":
				return UnknownChannel
			case event != "DELIVERY":
				return UnknownEvent
			}
			return KnownEvent
		},
		NewID: func() string { n++; return fmt.Sprintf("made-%d", n) },
	}
}

const least = `{"channel":"SMS","event":"DELIVERY","payload":{"a":1}}`

func with(members string) string {
	return `{"channel":"SMS","event":"DELIVERY","payload":{},` + members + `}`
}

func TestDecode_everyMember(t *testing.T) {
	t.Parallel()
	got, err := Decode([]byte(` {"eventId":"e 1/é","channel":"SMS","event":"DELIVERY","format":"URBAN","applicationId":"shop","entityId":"eu",
		"callsConfigurationId":"c","resource":"Ac\u006de","user":"ops","occurredAt":"2026-11-23T11:00:00.5+01:00","orderingKey":"k",
		"webhook":{"url":"https://a.example:8443/x?y=1","contentType":"application/json","notify":true},"payload":{ "z" : [1, "x y"] ,"a":null}} `), FormJSON, options())
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := []*Event{{
		Account: "acme", ID: "e 1/é", GivenID: true, Channel: "SMS", Name: "DELIVERY", Format: "URBAN", ApplicationID: "shop", EntityID: "eu",
		CallsConfigurationID: "c", Resource: "Acme", User: "ops", OccurredAt: time.Date(2026, 11, 23, 10, 0, 0, 5e8, time.UTC),
		ReceivedAt: time.Unix(1, 0), OrderingKey: "k", Webhook: &Webhook{URL: "https://a.example:8443/x?y=1", ContentType: ContentTypeJSON, Notify: &yes},
		Payload: json.RawMessage(`{"z":[1,"x y"],"a":null}`),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
}

func TestDecode_forms(t *testing.T) {
	t.Parallel()
	given := func(id string) string { return with(`"eventId":"` + id + `"`) }
	tests := []struct {
		name string
		form Form
		body string
		want []string
	}{
		{"object", FormJSON, least, []string{"made-1"}},
		{"array", FormJSON, "[" + least + " , " + given("b") + "\n]", []string{"made-1", "b"}},
		{"the same id twice", FormJSON, "[" + given("b") + "," + given("b") + "]", []string{"b", "b"}},
		{"lines", FormNDJSON, least + "\n" + given("b") + "\r\n\n" + least, []string{"made-1", "b", "made-2"}},
		{"XML", FormJSON, with(`"webhook":{"contentType":"application/xml; charset=utf-8"}`), []string{"made-1"}},
		{"nulls are absent", FormJSON, with(`"eventId":null,"user":null,"webhook":null,"occurredAt":null`), []string{"made-1"}},
	}
	for _, tt := range tests {
		es, err := Decode([]byte(tt.body), tt.form, options())
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var ids []string
		for _, e := range es {
			ids = append(ids, e.ID)
		}
		if diff := cmp.Diff(tt.want, ids); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// INV event-2 and INV event-3: what is refused, where, and that no value is
// repeated.
func TestDecode_refuses(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	long := strings.Repeat("x", MaxFieldLength+1)
	deep := func(n int) string {
		return `{"channel":"SMS","event":"DELIVERY","payload":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + "}"
	}
	tests := []struct {
		name    string
		form    Form
		body    string
		pointer string
		reason  string
	}{
		{"empty", FormJSON, " \n", "", "empty"},
		{"empty lines", FormNDJSON, "\n\n", "", "empty"},
		{"empty array", FormJSON, "[ ]", "", "empty array"},
		{"scalar", FormJSON, `"x"`, "", "must be an object or an array"},
		{"scalar in array", FormJSON, "[" + least + ",7]", "/1", "must be an object"},
		{"null in array", FormJSON, "[null]", "/0", "must be an object"},
		{"broken UTF-8", FormJSON, "{\"channel\":\"\xff\"}", "", "UTF-8"},
		{"cut off", FormJSON, `{"channel":"SMS"`, "", "near byte 16"},
		{"cut off array", FormJSON, "[" + least, "", "near byte"},
		{"trailing", FormJSON, least + "{}", "", "goes on"},
		{"trailing comma", FormJSON, "[" + least + ",]", "/1", "must be an object"},
		{"two on a line", FormNDJSON, least + least, "/0", "line of its own"},
		{"over a line", FormNDJSON, least + "\n{\"channel\":\n\"SMS\"}", "/1", "near byte"},
		{"array in lines", FormNDJSON, "[" + least + "]", "/0", "must be an object"},
		{"unknown member", FormJSON, "[" + least + "," + least + "," + least + "," + with(`"foo":"canary"`) + "]", "/3/foo", "not a member"},
		{"unknown member of webhook", FormJSON, with(`"webhook":{"f/o~o":1}`), "/webhook/f~1o~0o", "not a member"},
		{"other case", FormJSON, with(`"User":"canary"`), "/User", "not a member"},
		{"twice", FormJSON, with(`"user":"canary","user":"b"`), "/user", "twice"},
		{"twice, escaped", FormJSON, with(`"user":"canary","\u0075ser":"b"`), "/user", "twice"},
		{"no channel", FormJSON, `{"event":"DELIVERY","payload":{}}`, "/channel", "absent"},
		{"no event", FormJSON, `{"channel":"SMS","event":"","payload":{}}`, "/event", "absent"},
		{"no payload", FormJSON, `{"channel":"SMS","event":"DELIVERY"}`, "/payload", "absent"},
		{"null payload", FormJSON, `{"channel":"SMS","event":"DELIVERY","payload":null}`, "/payload", "absent"},
		{"array payload", FormJSON, `{"channel":"SMS","event":"DELIVERY","payload":[]}`, "/payload", "must be an object"},
		{"unknown channel", FormJSON, `{"channel":"canary","event":"DELIVERY","payload":{}}`, "/channel", "catalogue"},
		{"unknown event", FormJSON, `[{"channel":"SMS","event":"canary","payload":{}}]`, "/0/event", "not an event of this channel"},
		{"number for text", FormJSON, with(`"user":7`), "/user", "must be a string"},
		{"too long", FormJSON, with(`"resource":"` + long + `"`), "/resource", "at most 255"},
		{"control character", FormJSON, with(`"user":"canary\u0000"`), "/user", "control"},
		{"id: empty", FormJSON, with(`"eventId":""`), "/eventId", "must not be empty"},
		{"id: too long", FormJSON, with(`"eventId":"` + long + `"`), "/eventId", "at most 255"},
		{"id: control", FormJSON, with(`"eventId":"canary\n"`), "/eventId", "printable"},
		{"id: invisible", FormJSON, with(`"eventId":"canary\u200b"`), "/eventId", "printable"},
		{"id: dots", FormJSON, with(`"eventId":".."`), "/eventId", "must not be"},
		{"id: number", FormJSON, with(`"eventId":5`), "/eventId", "must be a string"},
		{"time: date only", FormJSON, with(`"occurredAt":"2026-11-23"`), "/occurredAt", "RFC 3339"},
		{"time: no zone", FormJSON, with(`"occurredAt":"2026-11-23T10:00:00"`), "/occurredAt", "RFC 3339"},
		{"time: number", FormJSON, with(`"occurredAt":1700000000`), "/occurredAt", "RFC 3339"},
		{"webhook: text", FormJSON, with(`"webhook":"canary"`), "/webhook", "must be an object"},
		{"webhook: notify", FormJSON, with(`"webhook":{"notify":"canary"}`), "/webhook/notify", "true or false"},
		{"webhook: form", FormJSON, with(`"webhook":{"contentType":"text/canary"}`), "/webhook/contentType", "must be application/json or application/xml"},
		{"webhook: parameters", FormJSON, with(`"webhook":{"contentType":"application/xml; canary"}`), "/webhook/contentType", "must be application/json or application/xml"},
		{"reserved", FormJSON, `{"channel":"BELFRY","event":"canary","payload":{}}`, "/channel", "reserved for what belfry itself tells"},
		{"webhook: scheme", FormJSON, with(`"webhook":{"url":"ftp://canary"}`), "/webhook/url", "http or https"},
		{"webhook: relative", FormJSON, with(`"webhook":{"url":"/canary"}`), "/webhook/url", "absolute"},
		{"webhook: user", FormJSON, with(`"webhook":{"url":"https://u:canary@a.example/"}`), "/webhook/url", "password"},
		{"webhook: fragment", FormJSON, with(`"webhook":{"url":"https://a.example/#"}`), "/webhook/url", "fragment"},
		{"webhook: space", FormJSON, with(`"webhook":{"url":"https://a.example/ b"}`), "/webhook/url", "spaces"},
		{"webhook: port", FormJSON, with(`"webhook":{"url":"https://a.example:70000/"}`), "/webhook/url", "port"},
		{"webhook: long", FormJSON, with(`"webhook":{"url":"https://a.example/` + strings.Repeat("x", MaxURLLength) + `"}`), "/webhook/url", "at most 2048"},
		{"too deep", FormJSON, deep(MaxJSONDepth + 1), "", "deeper than 32"},
		{"very deep", FormJSON, strings.Repeat("[", 1<<20), "/0", "must be an object"},
		{"very deep payload", FormJSON, `{"payload":` + strings.Repeat(`[`, 1<<20), "", "deeper"},
	}
	for _, tt := range tests {
		es, err := Decode([]byte(tt.body), tt.form, options())
		e, ok := errors.AsType[*Error](err)
		if !ok || es != nil {
			t.Errorf("%s: Decode = %d events, %v; want an *Error", tt.name, len(es), err)
			continue
		}
		if e.Pointer != tt.pointer || !strings.Contains(e.Reason, tt.reason) {
			t.Errorf("%s: %q %q; want %q … %q", tt.name, e.Pointer, e.Reason, tt.pointer, tt.reason)
		}
		if strings.Contains(e.Error(), canary) {
			t.Errorf("%s: the error repeats a value: %s", tt.name, e)
		}
	}
	if _, err := Decode([]byte(deep(MaxJSONDepth)), FormJSON, options()); err != nil {
		t.Errorf("a payload of %d levels is refused: %v", MaxJSONDepth, err)
	}
}

// Each limit at it and one above.
func TestDecode_limits(t *testing.T) {
	t.Parallel()
	fill := func(n int) string { // an event of exactly n bytes
		const frame = `{"channel":"SMS","event":"DELIVERY","payload":{"a":""}}`
		return strings.Replace(frame, `""`, `"`+strings.Repeat("x", n-len(frame))+`"`, 1)
	}
	many := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(least+",", n), ",") + "]" }
	tests := []struct {
		name    string
		form    Form
		body    string
		pointer string // "-": taken
	}{
		{"event at the limit", FormJSON, fill(DefaultMaxEventBytes), "-"},
		{"event above", FormJSON, fill(DefaultMaxEventBytes + 1), ""},
		{"event above in a batch", FormJSON, "[" + least + "," + fill(DefaultMaxEventBytes+1) + "]", "/1"},
		{"batch at the limit", FormJSON, many(MaxBatchEvents), "-"},
		{"batch above", FormJSON, many(MaxBatchEvents + 1), "/1000"},
		{"lines at the limit", FormNDJSON, strings.Repeat(least+"\n", MaxBatchEvents), "-"},
		{"lines above", FormNDJSON, strings.Repeat(least+"\n", MaxBatchEvents+1), "/1000"},
		{"text at the limit", FormJSON, with(`"user":"` + strings.Repeat("é", MaxFieldLength) + `"`), "-"},
		{"id at the limit", FormJSON, with(`"eventId":"` + strings.Repeat("x", MaxIDLength) + `"`), "-"},
		{"url at the limit", FormJSON, with(`"webhook":{"url":"https://a.example/` + strings.Repeat("x", MaxURLLength-18) + `"}`), "-"},
		{"url above", FormJSON, with(`"webhook":{"url":"https://a.example/` + strings.Repeat("x", MaxURLLength-17) + `"}`), "/webhook/url"},
	}
	for _, tt := range tests {
		_, err := Decode([]byte(tt.body), tt.form, options())
		e, refused := errors.AsType[*Error](err)
		switch {
		case !refused && tt.pointer != "-":
			t.Errorf("%s: taken", tt.name)
		case refused && e.Pointer != tt.pointer:
			t.Errorf("%s: %v, want it at %q", tt.name, err, tt.pointer)
		case refused && e.TooLarge != strings.HasPrefix(tt.name, "event above"):
			t.Errorf("%s: too large: %v", tt.name, e.TooLarge)
		}
	}
	o := options()
	o.MaxEventBytes, o.MaxEvents = len(least), 1
	if _, err := Decode([]byte(least), FormJSON, o); err != nil {
		t.Errorf("at limits of one's own: %v", err)
	}
	if _, err := Decode([]byte("["+least+","+least+"]"), FormJSON, o); err == nil {
		t.Error("above a limit of one's own: taken")
	}
	o.MaxEventBytes = 1 << 30
	if _, err := Decode([]byte(fill(MaxEventBytes+1)), FormJSON, o); err == nil {
		t.Error("the setting lifts the hard bound")
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	decode := func(body string) *Event {
		t.Helper()
		es, err := Decode([]byte(body), FormJSON, options())
		if err != nil {
			t.Fatal(err)
		}
		return es[0]
	}
	const full = `"eventId":"e","user":"u","resource":"r","occurredAt":"2026-11-23T10:00:00Z","webhook":{"url":"https://a.example/"}`
	base := Digest(decode(with(full)))
	same := decode(`{ "payload" : { }, "webhook":{"url":"https://a.example/"}, "event":"DELIVERY","channel":"SMS","occurredAt":"2026-11-23T11:00:00+01:00","resource":"r","user":"u","eventId":"e"}`)
	same.ReceivedAt = time.Unix(99, 0)
	if Digest(same) != base {
		t.Error("order, white space, zone or ReceivedAt change the digest")
	}
	seen := map[[32]byte]string{base: "base"}
	for name, change := range map[string]func(e *Event){
		"account": func(e *Event) { e.Account = "b" }, "id": func(e *Event) { e.ID = "f" }, "channel": func(e *Event) { e.Channel = "x" },
		"event": func(e *Event) { e.Name = "x" }, "format": func(e *Event) { e.Format = "x" }, "application": func(e *Event) { e.ApplicationID = "x" },
		"entity": func(e *Event) { e.EntityID = "x" }, "calls": func(e *Event) { e.CallsConfigurationID = "x" }, "resource": func(e *Event) { e.Resource = "x" },
		"user": func(e *Event) { e.User = "x" }, "shifted": func(e *Event) { e.Resource, e.User = "ru", "" }, "at": func(e *Event) { e.OccurredAt = e.OccurredAt.Add(1) },
		"no at": func(e *Event) { e.OccurredAt = time.Time{} }, "key": func(e *Event) { e.OrderingKey = "x" }, "no webhook": func(e *Event) { e.Webhook = nil },
		"empty webhook": func(e *Event) { e.Webhook = &Webhook{} }, "url": func(e *Event) { e.Webhook = &Webhook{URL: "https://b.example/"} },
		"type":    func(e *Event) { e.Webhook = &Webhook{URL: "https://a.example/", ContentType: ContentTypeJSON} },
		"notify":  func(e *Event) { e.Webhook = &Webhook{URL: "https://a.example/", Notify: new(true)} },
		"silent":  func(e *Event) { e.Webhook = &Webhook{URL: "https://a.example/", Notify: new(false)} },
		"payload": func(e *Event) { e.Payload = json.RawMessage(`{"a":1}`) },
	} {
		e := decode(with(full))
		change(e)
		d := Digest(e)
		if other, dup := seen[d]; dup {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
}

// The scanner takes what json.Valid takes.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{}`, `[1,-0.5e+3,"a\u00e9\\",true,false,null,{"a":[]}]`, `01`, `1.`, `"\x"`, `{"a":1,}`, `-`, `[1 2]`, ` 1 `, "\"\t\"", `{"a"}`, `1e`, `tru`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scanner{b: b}
		ok := s.skip(10_000) == scanOK
		s.space()
		if ok = ok && s.i == len(b); ok != json.Valid(b) {
			t.Fatalf("scanner says %v of %q, json.Valid the opposite", ok, b)
		}
	})
}

// Whatever comes in, Decode gives complete events within the limits or one
// *Error, and what it gives survives encoding.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{least, "[" + least + "]", least + "\n" + least, with(`"eventId":"a","webhook":{"url":"http://x/","notify":false}`), `[{}]`, `{"a":`, with(`"occurredAt":"2026-11-23T10:00:00Z"`)} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, lines bool) {
		form := FormJSON
		if lines {
			form = FormNDJSON
		}
		es, err := Decode(b, form, options())
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || es != nil {
				t.Fatalf("events %d, error %v", len(es), err)
			}
			return
		}
		if len(es) == 0 || len(es) > MaxBatchEvents {
			t.Fatalf("%d events", len(es))
		}
		for _, e := range es {
			if !json.Valid(e.Payload) || e.Payload[0] != '{' || CheckID(e.ID) != "" || e.Channel != "SMS" || e.Name != "DELIVERY" {
				t.Fatalf("incomplete: %+v", e)
			}
			out, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			var back Event
			if err := json.Unmarshal(out, &back); err != nil || back.ID != e.ID || back.Resource != e.Resource {
				t.Fatalf("does not survive encoding: %v", err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(with(`"eventId":"e-1","applicationId":"shop","entityId":"eu","resource":"Acme","occurredAt":"2026-11-23T10:00:00Z","user":"` + strings.Repeat("x", 200) + `"`))
	o := options()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(body, FormJSON, o); err != nil {
			b.Fatal(err)
		}
	}
}
