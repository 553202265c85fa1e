package dispatch

import (
	"encoding/json"
	"mime"
	"strings"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/event/xmlform"
	"example.com/belfry/fsm/model"
)

// MaxXMLBytes bounds a body in XML, where element names cost twice what keys
// cost in JSON. What would be larger goes out as JSON.
const MaxXMLBytes = 4 * MaxBatchBytes

// render gives the body in the form that the destination asks for, and the
// Content-Type that it has. Events that have no XML form go out as JSON to a
// destination that asks for XML: the alternative would be that it never gets
// them.
//
// INV dispatch-4: the same members give the same bytes for the same
// contentType, however often they are rendered.
func (q *request) render(contentType string) (body []byte, mediaType string) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != event.ContentTypeXML {
		if contentType == "" {
			contentType = model.DefaultContentType
		}
		return q.body(), contentType
	}
	first := &q.deliveries[0].Event
	root, item, ok := model.XMLForm(first.Channel, first.Name)
	if !ok {
		return q.body(), event.ContentTypeJSON
	}
	payloads := make([]json.RawMessage, len(q.deliveries))
	for i := range q.deliveries {
		payloads[i] = q.deliveries[i].Event.Payload
	}
	b, err := xmlform.Document(xmlform.Form{Root: root, Item: item}, payloads, MaxXMLBytes)
	if err != nil {
		return q.body(), event.ContentTypeJSON
	}
	if charset, given := params["charset"]; given && !strings.EqualFold(charset, "utf-8") {
		contentType = event.ContentTypeXML // the body is UTF-8 and says so itself
	}
	return b, contentType
}
