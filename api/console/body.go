package console

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"strings"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/event/xmlform"
	"example.com/belfry/fsm/model"
)

// shownBody is the body of a request or an answer as a page shows it.
type shownBody struct {
	// Kind is JSON, XML or Text.
	Kind string
	// Text is the body with line breaks and indentation where its kind allows
	// that; what cannot be read as its kind is as it is.
	Text string
}

// The kinds of shownBody.
const (
	kindJSON = "JSON"
	kindXML  = "XML"
	kindText = "Text"
)

// showBody shows a body by its Content-Type, and by its look where there is
// none: of answers that were taken only short headers are kept.
func showBody(contentType, body string) shownBody {
	media, _, _ := mime.ParseMediaType(contentType) // what is no media type is none
	switch {
	case media == event.ContentTypeXML, media == "text/xml", strings.HasSuffix(media, "+xml"), media == "" && strings.HasPrefix(body, "<?xml"):
		return shownBody{kindXML, prettyXML(body)}
	case json.Valid([]byte(body)):
		return shownBody{kindJSON, prettyJSON(body)}
	case media == event.ContentTypeJSON, strings.HasSuffix(media, "+json"): // cut off, or wrong
		return shownBody{kindJSON, body}
	}
	return shownBody{kindText, body}
}

// mostXML bounds a body that is made again, in bytes; a node sends no larger
// one as XML.
const mostXML = 4 << 20

// asXML is the body of an event as it goes out to a destination that asks for
// XML; !ok: such an event goes out as JSON.
func asXML(e *event.Event) (body string, ok bool) {
	root, item, ok := model.XMLForm(e.Channel, e.Name)
	if !ok {
		return "", false
	}
	b, err := xmlform.Document(xmlform.Form{Root: root, Item: item}, []json.RawMessage{e.Payload}, mostXML)
	return string(b), err == nil
}

// indentMost is how many levels are indented: deeper ones stay at the last, so
// that a body of nothing but nesting does not become one of nothing but blanks.
const indentMost = 40

// prettyXML puts every element that has no text beside it on a line of its
// own. What is no XML, or not all of it, is given back as it is.
func prettyXML(s string) string {
	dec := xml.NewDecoder(strings.NewReader(s))
	var out bytes.Buffer
	depth, text := 0, false // text: the last thing was text, which a line break would change
	line := func() {
		if out.Len() > 0 && !text {
			out.WriteString("\n" + strings.Repeat("  ", min(depth, indentMost)))
		}
	}
	opened := false // the last thing opened an element
	for from := int64(0); ; {
		t, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s
		}
		to := dec.InputOffset()
		raw := s[from:to]
		from = to
		switch t.(type) {
		case xml.CharData:
			if strings.TrimSpace(raw) == "" {
				continue
			}
			out.WriteString(raw)
			text, opened = true, false
			continue
		case xml.EndElement:
			if depth--; depth < 0 {
				return s
			}
			if raw != "" && !opened {
				line()
			}
			opened = false
		case xml.StartElement:
			line()
			depth++
			opened = true
		default:
			line()
			opened = false
		}
		out.WriteString(raw)
		text = false
	}
	if depth != 0 {
		return s
	}
	return out.String()
}

// testBody is what the test of a profile sent: the form that it has says the
// Content-Type that was kept.
func testBody(channel, name string, r event.TestReport) shownBody {
	w := wireRequest{Body: string(r.Payload), contentType: headerOf(r.Attempt.RequestHeaders, "Content-Type")}
	if strings.HasPrefix(w.contentType, event.ContentTypeXML) && !w.toXML(&event.Event{Channel: channel, Name: name, Payload: r.Payload}) {
		w.contentType = event.ContentTypeJSON
	}
	return showBody(w.contentType, w.Body)
}
