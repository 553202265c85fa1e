package console

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

func TestShowBody(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		contentType, body string
		want              shownBody
	}{
		"JSON":                {"application/json", `{"a":1}`, shownBody{kindJSON, "{\n  \"a\": 1\n}"}},
		"problem":             {"application/problem+json; charset=utf-8", `[]`, shownBody{kindJSON, "[]"}},
		"JSON that is cut":    {"application/json", `{"a":`, shownBody{kindJSON, `{"a":`}},
		"JSON without a type": {"", `{"a":1}`, shownBody{kindJSON, "{\n  \"a\": 1\n}"}},
		"XML":                 {"application/xml; charset=utf-8", `<?xml version="1.0"?><a><b>1</b><c/></a>`, shownBody{kindXML, "<?xml version=\"1.0\"?>\n<a>\n  <b>1</b>\n  <c/>\n</a>"}},
		"other XML":           {"application/soap+xml", `<a/>`, shownBody{kindXML, `<a/>`}},
		"XML without a type":  {"", `<?xml version="1.0"?><a/>`, shownBody{kindXML, "<?xml version=\"1.0\"?>\n<a/>"}},
		"XML that is cut":     {"text/xml", `<a><b>1</b><c`, shownBody{kindXML, `<a><b>1</b><c`}},
		"XML without its end": {"text/xml", `<a><b>1</b>`, shownBody{kindXML, `<a><b>1</b>`}},
		"XML that ends twice": {"text/xml", `<a></a></a>`, shownBody{kindXML, `<a></a></a>`}},
		"no XML":              {"text/xml", `a < b`, shownBody{kindXML, `a < b`}},
		"HTML":                {"text/html", `<p>busy<br>now`, shownBody{kindText, `<p>busy<br>now`}},
		"no type":             {"", `busy`, shownBody{kindText, `busy`}},
		"no media type":       {";", `busy`, shownBody{kindText, `busy`}},
	} {
		if diff := cmp.Diff(tt.want, showBody(tt.contentType, tt.body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Text keeps its blanks, and no bytes but blanks between elements are added or
// lost.
func TestPrettyXML(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`<a>  <b> x </b>` + "\n\t" + `<b></b></a>`:           "<a>\n  <b> x </b>\n  <b></b>\n</a>",
		`<a>one <b>two</b> three</a>`:                        `<a>one <b>two</b> three</a>`,
		`<a><!-- c --><![CDATA[<b>]]></a>`:                   "<a>\n  <!-- c --><![CDATA[<b>]]></a>",
		`<x:a xmlns:x="u" b='&lt;'><x:b>&#13;</x:b></x:a>`:   "<x:a xmlns:x=\"u\" b='&lt;'>\n  <x:b>&#13;</x:b>\n</x:a>",
		`<a>` + textRTL + `</a>`:                             `<a>` + textRTL + `</a>`,
		`<?xml version="1.0" encoding="latin1"?><a><b/></a>`: `<?xml version="1.0" encoding="latin1"?><a><b/></a>`,
	} {
		if got := prettyXML(in); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", in, got, want)
		}
	}
	const levels = 10_000
	deep := strings.Repeat("<a>", levels) + strings.Repeat("</a>", levels)
	if got := prettyXML(deep); len(got) > levels*2*(5+2*indentMost) || strings.Count(got, "\n") != 2*(levels-1) {
		t.Errorf("%d levels become %d bytes in %d lines", levels, len(got), strings.Count(got, "\n"))
	}
}

// A request that went out as XML is shown as the XML that it was, which a
// signature can be checked over; where nothing was sent, an event without an
// XML form is shown as the JSON that goes out in its place.
func TestAttempt_xml(t *testing.T) {
	t.Parallel()
	const doc = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeliveryReports><results><result><to>4179</to></result></results></DeliveryReports>"
	e := event.Event{Channel: "SMS", Name: "DELIVERY", Payload: json.RawMessage(`{"to":"4179"}`), Webhook: &event.Webhook{ContentType: "application/xml; charset=utf-8"}}
	sent := event.Attempt{Attempt: 1, WebhookID: "d-1", RequestHeaders: []event.HeaderField{{Name: "Content-Type", Value: "application/xml"}}}
	batch := sent
	batch.WebhookID = "bat_1"
	other := e
	other.Name = "CLICK"
	for name, tt := range map[string]struct {
		e       event.Event
		a       event.Attempt
		body    string
		kind    string
		partial bool
	}{
		"sent":             {e, sent, doc, kindXML, false},
		"in a batch":       {e, batch, doc, kindXML, true},
		"never sent":       {e, event.Attempt{Attempt: 1}, doc, kindXML, false},
		"without XML form": {other, event.Attempt{Attempt: 1}, `{"to":"4179"}`, kindJSON, false},
	} {
		w := (&visit{}).rebuild(&tt.e, &event.Delivery{URL: "https://x.example/"}, &tt.a)
		if w.Body != tt.body || w.Shown.Kind != tt.kind || w.Partial != tt.partial {
			t.Errorf("%s: %s of %q, partial %v", name, w.Shown.Kind, w.Body, w.Partial)
		}
		if h := w.Headers[0]; h.Name != "Content-Type" || strings.Contains(h.Value, "xml") != (tt.kind == kindXML) {
			t.Errorf("%s: %v", name, h)
		}
	}
}
