package dispatch

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/event/sample"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

func requestOf(channel, name string, payloads ...string) *request {
	q := &request{}
	for _, p := range payloads {
		q.deliveries = append(q.deliveries, outbox.Delivery{Event: event.Event{Channel: channel, Name: name, Payload: json.RawMessage(p)}})
	}
	return q
}

func TestRender(t *testing.T) {
	t.Parallel()
	const (
		x        = "application/xml"
		reports  = xml.Header + "<DeliveryReports><results><result><a>1</a></result><result><b>x&amp;y</b></result></results></DeliveryReports>"
		voice    = xml.Header + "<reportResponse><results><results><a>1</a></results></results></reportResponse>"
		twoInOne = `{"results":[{"a":1},{"b":"x&y"}]}`
	)
	for name, tt := range map[string]struct {
		channel, event string
		payloads       []string
		ask            string
		body, media    string
	}{
		"JSON by default":       {"SMS", "DELIVERY", []string{`{"a":1}`}, "", `{"results":[{"a":1}]}`, "application/json"},
		"JSON as asked":         {"SMS", "DELIVERY", []string{`{"a":1}`, `{"b":"x&y"}`}, "application/json; charset=utf-8", twoInOne, "application/json; charset=utf-8"},
		"flat JSON":             {"SMS", "CLICK", []string{`{"a":1}`}, "application/json", `{"a":1}`, "application/json"},
		"XML":                   {"SMS", "DELIVERY", []string{`{"a":1}`, `{"b":"x&y"}`}, x, reports, x},
		"XML as asked":          {"MMS", "DELIVERY", []string{`{"a":1}`, `{"b":"x&y"}`}, "Application/XML; charset=UTF-8", reports, "Application/XML; charset=UTF-8"},
		"another charset":       {"VIBER", "DELIVERY", []string{`{"a":1}`, `{"b":"x&y"}`}, "application/xml; charset=iso-8859-1", reports, x},
		"voice":                 {"VOICE_VIDEO", "DELIVERY", []string{`{"a":1}`}, x, voice, x},
		"no XML form":           {"WHATSAPP", "DELIVERY", []string{`{"a":1}`}, x, `{"results":[{"a":1}]}`, "application/json"},
		"flat without XML form": {"SMS", "CLICK", []string{`{"a":1}`}, x, `{"a":1}`, "application/json"},
	} {
		q := requestOf(tt.channel, tt.event, tt.payloads...)
		body, media := q.render(tt.ask)
		if string(body) != tt.body || media != tt.media {
			t.Errorf("%s: %s\n got %s\nwant %s %s", name, media, body, tt.media, tt.body)
		}
	}
}

// A body at MaxXMLBytes is XML; one that would be larger is JSON.
func TestRender_limit(t *testing.T) {
	t.Parallel()
	frame, _ := requestOf("SMS", "DELIVERY", `{"a":""}`).render("application/xml")
	fill := MaxXMLBytes - len(frame)
	for n, want := range map[int]string{fill: "application/xml", fill + 1: "application/json"} {
		body, media := requestOf("SMS", "DELIVERY", `{"a":"`+strings.Repeat("x", n)+`"}`).render("application/xml")
		if media != want || media == "application/xml" && len(body) != MaxXMLBytes {
			t.Errorf("%d bytes more: %s, %d bytes; want %s", n-fill, media, len(body), want)
		}
	}
}

// INV dispatch-4: every event of the catalogue goes out in the form that its
// Content-Type says, as the same bytes each time.
func TestRender_catalogue(t *testing.T) {
	t.Parallel()
	for _, c := range model.Channels() {
		for _, name := range c.Events {
			p := string(sample.Payload(c.Name, name))
			payloads := []string{p, p}
			if !model.Batches(c.Name, name) {
				payloads = payloads[:1]
			}
			q := requestOf(c.Name, name, payloads...)
			body, media := q.render("application/xml")
			again, _ := q.render("application/xml")
			_, _, hasForm := model.XMLForm(c.Name, name)
			if !bytes.Equal(body, again) || hasForm != (media == "application/xml") {
				t.Errorf("%s %s goes out as %s", c.Name, name, media)
			}
			if media == "application/json" && !json.Valid(body) || media == "application/xml" && xml.Unmarshal(body, new(any)) != nil {
				t.Errorf("%s %s is not %s:\n%s", c.Name, name, media, body)
			}
		}
	}
}
