// Package sample holds example events: hand-written ones of many families, as
// files, and a plausible payload of every event of the catalogue. Its shapes
// follow the contract, its values are made up. A leaf: standard library only.
package sample

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

//go:embed files/*.json
var files embed.FS

// Event is one hand-written event, as it is posted.
type Event struct {
	Name    string // of the file, without .json
	Channel string
	Event   string
	// Body is the whole event and Payload its payload, without white space
	// between tokens.
	Body    json.RawMessage
	Payload json.RawMessage
}

// Events returns the hand-written events in alphabetical order of their names.
func Events() ([]Event, error) {
	entries, err := files.ReadDir("files")
	if err != nil {
		return nil, err
	}
	out := make([]Event, 0, len(entries))
	for _, entry := range entries {
		b, err := files.ReadFile("files/" + entry.Name())
		if err != nil {
			return nil, err
		}
		e, err := parse(b)
		if err != nil {
			return nil, fmt.Errorf("sample %s: %w", entry.Name(), err)
		}
		e.Name = strings.TrimSuffix(entry.Name(), ".json")
		out = append(out, e)
	}
	return out, nil
}

func parse(b []byte) (Event, error) {
	var in struct {
		Channel, Event string
		Payload        json.RawMessage
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return Event{}, err
	}
	e := Event{Channel: in.Channel, Event: in.Event}
	for _, part := range []struct {
		dst *json.RawMessage
		src []byte
	}{{&e.Body, b}, {&e.Payload, in.Payload}} {
		var c bytes.Buffer
		if err := json.Compact(&c, part.src); err != nil {
			return Event{}, err
		}
		*part.dst = c.Bytes()
	}
	return e, nil
}

// IDPrefix begins the messageId of every Payload, so that nobody takes a test
// for the real thing.
const IDPrefix = "belfry-test-"

// Payload is a payload of the event that says of itself that it is a test: the
// hand-written one with another id, or one made by its family. It is the same
// for the same event each time. An event of no catalogue gets one too.
func Payload(channel, name string) json.RawMessage {
	id := IDPrefix + strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, channel+"-"+name)
	all, err := Events()
	if err != nil {
		all = nil // the tests keep the files good; without them a made one will do
	}
	for _, e := range all {
		if e.Channel == channel && e.Event == name {
			return mark(e.Payload, id)
		}
	}
	return made(channel, name, id)
}

// idMembers are where payloads carry the id of what they tell about.
var idMembers = []*regexp.Regexp{
	regexp.MustCompile(`"messageId":"[^"\\]*"`),
	regexp.MustCompile(`"callId":"[^"\\]*"`),
	regexp.MustCompile(`"token":"[^"\\]*"`),
}

// mark puts id in place of the ids of a compact payload, or before its members
// if it has none.
func mark(payload json.RawMessage, id string) json.RawMessage {
	for _, re := range idMembers {
		if at := re.FindIndex(payload); at != nil {
			name, _, _ := strings.Cut(string(payload[at[0]:at[1]]), ":")
			return re.ReplaceAllLiteral(payload, []byte(name+`:"`+id+`"`))
		}
	}
	return append([]byte(`{"messageId":"`+id+`",`), payload[1:]...)
}
