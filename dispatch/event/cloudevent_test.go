package event

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const leastCloud = `{"specversion":"1.0","id":"1","source":"/orders","type":"SMS.DELIVERY","data":{"a":1}}`

// cloud is leastCloud with members in place of its own or beside them; "" for a
// value leaves the member out.
func cloud(members ...string) string {
	m := map[string]json.RawMessage{}
	_ = json.Unmarshal([]byte(leastCloud), &m)
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == "" {
			delete(m, members[i])
		} else {
			m[members[i]] = json.RawMessage(members[i+1])
		}
	}
	b, _ := json.Marshal(m)
	return string(b)
}

// asBinary is a CloudEvent of texts in the binary mode.
func asBinary(t *testing.T, structured string) (header map[string][]string, body []byte) {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(structured), &m); err != nil {
		t.Fatal(err)
	}
	header = map[string][]string{"Content-Type": {ContentTypeJSON}}
	for name, v := range m {
		if name == "data" {
			body = v
			continue
		}
		text, ok := attributeText(v, true)
		if !ok {
			t.Fatalf("%s has no text", name)
		}
		header["Ce-"+strings.ToUpper(name[:1])+name[1:]] = []string{text}
	}
	return header, body
}

// The same event in the three modes is the same event.
func TestCloudEvents_everyAttribute(t *testing.T) {
	t.Parallel()
	full := `{"specversion":"1.0","id":"4711","source":"https://shop.example/orders","type":"SMS.DELIVERY","subject":"other","time":"2026-11-23T11:00:00+01:00",
		"datacontenttype":"application/vnd.shop+json","dataschema":"https://shop.example/schema","applicationid":"shop","entityid":"eu","callsconfigurationid":"c",
		"resource":"Acme","user":"ops","format":"URBAN","orderingkey":"k","partitionkey":"p","traceparent":"00-ab-cd-01","data":{ "z" : [1, "x y"] ,"a":null}}`
	want := &Event{
		Account: "acme", ID: "https://shop.example/orders 4711", GivenID: true, Channel: "SMS", Name: "DELIVERY", Format: "URBAN", ApplicationID: "shop", EntityID: "eu",
		CallsConfigurationID: "c", Resource: "Acme", User: "ops", OccurredAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), ReceivedAt: time.Unix(1, 0),
		OrderingKey: "k", Payload: json.RawMessage(`{"z":[1,"x y"],"a":null}`),
	}
	structured, err := Decode([]byte(" "+full+"\n"), FormCloudEvent, options())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := Decode([]byte("["+full+","+full+"]"), FormCloudBatch, options())
	if err != nil {
		t.Fatal(err)
	}
	binary, err := DecodeBinary(first(asBinary(t, full)), second(asBinary(t, full)), options())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ want, got []*Event }{
		"structured": {[]*Event{want}, structured}, "batch": {[]*Event{want, want}, batch}, "binary": {[]*Event{want}, binary},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func first[A, B any](a A, _ B) A  { return a }
func second[A, B any](_ A, b B) B { return b }

func TestCloudEvents_mapping(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body string
		want func(*Event)
	}{
		"least":              {leastCloud, func(*Event) {}},
		"subject":            {cloud("subject", `"Acme"`), func(e *Event) { e.Resource = "Acme" }},
		"partition key":      {cloud("partitionkey", `"k"`), func(e *Event) { e.OrderingKey = "k" }},
		"null is absent":     {cloud("user", "null", "time", "null", "data_base64", "null", "x", "null"), func(*Event) {}},
		"integer and truth":  {cloud("applicationid", "-17", "user", "true"), func(e *Event) { e.ApplicationID, e.User = "-17", "true" }},
		"not used, not text": {cloud("x", `{"a":[1.5]}`), func(*Event) {}},
		"Base64":             {cloud("data", "", "data_base64", `"`+base64.StdEncoding.EncodeToString([]byte(" {\"a\" : 1}\n"))+`"`), func(*Event) {}},
		"JSON content":       {cloud("datacontenttype", `"application/json; charset=utf-8"`), func(*Event) {}},
		"a space in the id":  {cloud("id", `"a b"`), func(e *Event) { e.ID = "/orders a b" }},
		"dots for an id":     {cloud("id", `".."`), func(e *Event) { e.ID = "/orders .." }},
		"longest readable id": {
			cloud("id", `"`+strings.Repeat("i", MaxIDLength-8)+`"`),
			func(e *Event) { e.ID = "/orders " + strings.Repeat("i", MaxIDLength-8) },
		},
		"one byte longer": {
			cloud("id", `"`+strings.Repeat("i", MaxIDLength-7)+`"`),
			func(e *Event) { e.ID = cloudID("/orders", strings.Repeat("i", MaxIDLength-7)) },
		},
	} {
		want := &Event{
			Account: "acme", ID: "/orders 1", GivenID: true, Channel: "SMS", Name: "DELIVERY", ReceivedAt: time.Unix(1, 0), Payload: json.RawMessage(`{"a":1}`),
		}
		tt.want(want)
		got, err := Decode([]byte(tt.body), FormCloudEvent, options())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff([]*Event{want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// INV event-4: other sources or ids have other eventIds.
func TestCloudEvents_ids(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("s", 300)
	seen := map[string]string{}
	for _, pair := range [][2]string{
		{"/a", "1"}, {"/a", "2"}, {"/b", "1"}, {"/a1", ""}, {"/a", " 1"}, {"/a", "1 1"}, {"/a%201", "1"}, {"/" + long, "1"}, {"/" + long, "2"}, {"/" + long + "s", "1"}, {"/a", long},
	} {
		id, name := cloudID(pair[0], pair[1]), fmt.Sprintf("%.9q", pair)
		if other, dup := seen[id]; dup {
			t.Errorf("%s has the id of %s", name, other)
		}
		if msg := CheckID(id); msg != "" {
			t.Errorf("%s: the id %s", name, msg)
		}
		if long := len(pair[0])+1+len(pair[1]) > MaxIDLength; long != strings.HasPrefix(id, hashedID) {
			t.Errorf("%s: %s", name, id)
		}
		seen[id] = name
	}
}

// What is refused and where, in the modes that can say it: INV event-2 and INV
// event-3.
func TestCloudEvents_refuses(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	long := `"` + strings.Repeat("x", MaxFieldLength+1) + `"`
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	b64 := func(s string) string { return `"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"` }
	for name, tt := range map[string]struct {
		body, attribute, reason string
		jsonOnly                bool
	}{
		"no version":        {body: cloud("specversion", ""), attribute: "/specversion", reason: "must be 1.0"},
		"another version":   {body: cloud("specversion", `"0.3"`), attribute: "/specversion", reason: "must be 1.0"},
		"no id":             {body: cloud("id", ""), attribute: "/id", reason: "absent"},
		"empty id":          {body: cloud("id", `""`), attribute: "/id", reason: "empty"},
		"id: too long":      {body: cloud("id", long), attribute: "/id", reason: "at most 255 bytes"},
		"id: invisible":     {body: cloud("id", `"canary\u200b"`), attribute: "/id", reason: "printable"},
		"id: number":        {body: cloud("id", `7`), attribute: "/id", reason: "must be a string", jsonOnly: true},
		"no source":         {body: cloud("source", ""), attribute: "/source", reason: "absent"},
		"source: space":     {body: cloud("source", `"/a canary"`), attribute: "/source", reason: "URI reference"},
		"source: bad":       {body: cloud("source", `":canary"`), attribute: "/source", reason: "URI reference"},
		"source: too long":  {body: cloud("source", `"/`+strings.Repeat("x", MaxURLLength)+`"`), attribute: "/source", reason: "at most 2048"},
		"no type":           {body: cloud("type", ""), attribute: "/type", reason: "absent"},
		"type: no dot":      {body: cloud("type", `"canary"`), attribute: "/type", reason: "such as SMS.DELIVERY"},
		"type: no event":    {body: cloud("type", `"SMS."`), attribute: "/type", reason: "such as SMS.DELIVERY"},
		"unknown channel":   {body: cloud("type", `"canary.DELIVERY"`), attribute: "/type", reason: "channel of the catalogue"},
		"unknown event":     {body: cloud("type", `"SMS.canary"`), attribute: "/type", reason: "event of this channel"},
		"reserved":          {body: cloud("type", `"BELFRY.delivery.dead"`), attribute: "/type", reason: "reserved for what belfry itself tells"},
		"no data":           {body: cloud("data", ""), attribute: "/data", reason: "absent"},
		"null data":         {body: cloud("data", "null"), attribute: "/data", reason: "must be", jsonOnly: true},
		"data of text":      {body: cloud("data", `"canary"`), attribute: "/data", reason: "must be"},
		"data of a list":    {body: cloud("data", `[]`), attribute: "/data", reason: "must be"},
		"time":              {body: cloud("time", `"canary"`), attribute: "/time", reason: "RFC 3339"},
		"user: too long":    {body: cloud("user", long), attribute: "/user", reason: "at most 255"},
		"resource: control": {body: cloud("resource", `"canary\u0000"`), attribute: "/resource", reason: "control"},
		"subject: too long": {body: cloud("subject", long), attribute: "/subject", reason: "at most 255"},
		"partition key":     {body: cloud("partitionkey", long), attribute: "/partitionkey", reason: "at most 255"},
		"ordering key":      {body: cloud("orderingkey", long, "partitionkey", `"a"`), attribute: "/orderingkey", reason: "at most 255"},
		"content type":      {body: cloud("datacontenttype", `"text/canary"`), attribute: "/datacontenttype", reason: "application/json", jsonOnly: true},
		"fraction":          {body: cloud("user", "1.5"), attribute: "/user", reason: "must be a string", jsonOnly: true},
		"object":            {body: cloud("user", `{"a":"canary"}`), attribute: "/user", reason: "must be a string", jsonOnly: true},
		"name":              {body: cloud("Canary", `"x"`), attribute: "/Canary", reason: "is not a name of an attribute", jsonOnly: true},
		"name with a dash":  {body: cloud("a-b", `"x"`), attribute: "/a-b", reason: "is not a name of an attribute"},
		"data twice":        {body: cloud("data_base64", b64("{}")), attribute: "/data_base64", reason: "must not stand beside data", jsonOnly: true},
		"given twice":       {body: `{"id":"canary","id":"b"}`, attribute: "/id", reason: "twice", jsonOnly: true},
		"Base64":            {body: cloud("data", "", "data_base64", `"canary!"`), attribute: "/data_base64", reason: "Base64", jsonOnly: true},
		"Base64: number":    {body: cloud("data", "", "data_base64", `1`), attribute: "/data_base64", reason: "must be a string", jsonOnly: true},
		"Base64: text":      {body: cloud("data", "", "data_base64", b64(`"canary"`)), attribute: "/data_base64", reason: "must be a JSON object", jsonOnly: true},
		"Base64: cut off":   {body: cloud("data", "", "data_base64", b64(`{"a":`)), attribute: "/data_base64", reason: "near byte 5", jsonOnly: true},
		"Base64: trailing":  {body: cloud("data", "", "data_base64", b64(`{}x`)), attribute: "/data_base64", reason: "goes on", jsonOnly: true},
		"Base64: UTF-8":     {body: cloud("data", "", "data_base64", b64("{\"a\":\"\xff\"}")), attribute: "/data_base64", reason: "UTF-8", jsonOnly: true},
		"Base64: deep":      {body: cloud("data", "", "data_base64", b64(nested(MaxJSONDepth+1))), attribute: "/data_base64", reason: "deeper than 32", jsonOnly: true},
		"data: deep":        {body: cloud("data", nested(MaxJSONDepth+1)), attribute: "", reason: "deeper than 32", jsonOnly: true},
		"a list":            {body: "[" + leastCloud + "]", attribute: "", reason: "must be one CloudEvent", jsonOnly: true},
	} {
		check := func(mode, pointer string, es []*Event, err error) {
			t.Helper()
			e, ok := errors.AsType[*Error](err)
			if !ok || es != nil || e.Pointer != pointer || !strings.Contains(e.Reason, tt.reason) || strings.Contains(e.Reason, canary) {
				t.Errorf("%s, %s: %d events, %v; want %q … %q", name, mode, len(es), err, pointer, tt.reason)
			}
		}
		es, err := Decode([]byte(tt.body), FormCloudEvent, options())
		check("structured", tt.attribute, es, err)
		if name != "a list" {
			es, err = Decode([]byte("["+leastCloud+","+tt.body+"]"), FormCloudBatch, options())
			check("batch", "/1"+tt.attribute, es, err)
		}
		if !tt.jsonOnly {
			header, body := asBinary(t, tt.body)
			es, err = DecodeBinary(header, body, options())
			check("binary", tt.attribute, es, err)
		}
	}
	for _, body := range []string{leastCloud, "[]", "", "7"} {
		if es, err := Decode([]byte(body), FormCloudBatch, options()); err == nil || es != nil {
			t.Errorf("a batch of %q is taken", body)
		}
	}
}

// Each limit at it and one above.
func TestCloudEvents_limits(t *testing.T) {
	t.Parallel()
	o := options()
	o.MaxEventBytes, o.MaxEvents = len(leastCloud)+20, 2
	pad := strings.Repeat("x", 20)
	sized := strings.Replace(leastCloud, `{"a":1}`, `{"a":1}`+strings.Repeat(" ", 20), 1)
	header, body := asBinary(t, leastCloud)
	size := len(body)
	for name, v := range header {
		if name != "Content-Type" {
			size += len(name) + len(v[0])
		}
	}
	ob := o
	ob.MaxEventBytes = size + 20
	with := func(extra string) map[string][]string {
		h := maps.Clone(header)
		h["Ce-Subject"] = []string{extra[len("Ce-Subject"):]}
		return h
	}
	attributes := func(n int) string {
		m := []string{}
		for i := range n - 5 {
			m = append(m, fmt.Sprintf("x%d", i), `"1"`)
		}
		return cloud(m...)
	}
	for name, decode := range map[string]func(above bool) ([]*Event, error){
		"event": func(above bool) ([]*Event, error) {
			return Decode([]byte(sized[:len(sized)-1]+strings.Repeat(" ", b2i(above))+"}"), FormCloudEvent, o)
		},
		"event of a batch": func(above bool) ([]*Event, error) {
			return Decode([]byte("["+sized[:len(sized)-1]+strings.Repeat(" ", b2i(above))+"}]"), FormCloudBatch, o)
		},
		"headers and body": func(above bool) ([]*Event, error) {
			return DecodeBinary(with(pad+strings.Repeat("x", b2i(above))), body, ob)
		},
		"batch": func(above bool) ([]*Event, error) {
			return Decode([]byte("["+leastCloud+","+leastCloud+strings.Repeat(","+leastCloud, b2i(above))+"]"), FormCloudBatch, o)
		},
		"attributes": func(above bool) ([]*Event, error) {
			return Decode([]byte(attributes(MaxAttributes+b2i(above))), FormCloudEvent, options())
		},
		"headers": func(above bool) ([]*Event, error) {
			h := first(asBinary(t, attributes(MaxAttributes+1+b2i(above)))) // data is no header
			return DecodeBinary(h, body, options())
		},
	} {
		if _, err := decode(false); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		_, err := decode(true)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.TooLarge != (strings.HasPrefix(name, "event") || name == "headers and body") {
			t.Errorf("%s above the limit: %v", name, err)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The values of headers, as section 3.1.3.2 of the HTTP binding has them.
func TestHeaderText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain": "plain", "Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀", "Euro €": "Euro €", "%25%32%30": "%20", "a%2": "a%2", "100%": "100%", "%zz": "%zz",
		`"a b"`: "a b", `"a \"b\" \\ c"`: `a "b" \ c`, `"%41\%42"`: "AB", `"`: `"`, `""`: "", `"a\`: `"a\`, "%c3%A9": "é",
	} {
		if got, ok := headerText(in); !ok || got != want {
			t.Errorf("%q is read as %q, %v; want %q", in, got, ok, want)
		}
	}
	if _, ok := headerText("%ff"); ok {
		t.Error("bytes that are not UTF-8 are taken")
	}
	for name, want := range map[string]bool{"Ce-Id": true, "ce-type": true, "CE-SPECVERSION": true, "Ce-Source": true, "Ce-Subject": false, "Content-Type": false} {
		if got := Binary(map[string][]string{name: {""}}); got != want {
			t.Errorf("a request with %s: binary is %v", name, got)
		}
	}
	header, body := asBinary(t, leastCloud)
	header["Ce-Source"] = []string{"/a", "/b"}
	if _, err := DecodeBinary(header, body, options()); err == nil || !strings.Contains(err.Error(), "/source is given twice") {
		t.Errorf("two sources: %v", err)
	}
	header["Ce-Source"] = []string{"%ff"}
	if _, err := DecodeBinary(header, body, options()); err == nil || !strings.Contains(err.Error(), "/source is not valid UTF-8") {
		t.Errorf("a source that is not UTF-8: %v", err)
	}
}

// Whatever comes in, in whichever mode, gives complete events or one *Error.
func FuzzCloudEvents(f *testing.F) {
	f.Add([]byte(leastCloud), byte(0), "")
	f.Add([]byte("["+leastCloud+"]"), byte(1), "")
	f.Add([]byte(`{"a":1}`), byte(2), "ce-id: 1\nce-source: /a\nce-type: SMS.DELIVERY\nce-specversion: 1.0\nce-subject: %E2%82%AC\nce-time: 2026-11-23T10:00:00Z")
	f.Add([]byte(cloud("data", "", "data_base64", `"e30="`)), byte(0), "")
	f.Fuzz(func(t *testing.T, b []byte, mode byte, head string) {
		var es []*Event
		var err error
		switch mode % 3 {
		case 0:
			es, err = Decode(b, FormCloudEvent, options())
		case 1:
			es, err = Decode(b, FormCloudBatch, options())
		default:
			header := map[string][]string{}
			for line := range strings.SplitSeq(head, "\n") {
				name, value, _ := strings.Cut(line, ": ")
				header[name] = append(header[name], value)
			}
			es, err = DecodeBinary(header, b, options())
		}
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
			if !json.Valid(e.Payload) || e.Payload[0] != '{' || CheckID(e.ID) != "" || !e.GivenID || e.Channel != "SMS" || e.Name != "DELIVERY" {
				t.Fatalf("incomplete: %+v", e)
			}
			for _, s := range []string{e.Resource, e.User, e.OrderingKey, e.ApplicationID, e.EntityID, e.CallsConfigurationID, e.Format} {
				if checkText(s) != "" {
					t.Fatalf("a text outside of the limits: %+v", e)
				}
			}
		}
	})
}
