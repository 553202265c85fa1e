package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"example.com/belfry/dispatch/event/sample"
)

// Sample is one event of the demo, as it is posted.
type Sample struct {
	Name    string // of the file, without .json
	Channel string
	Event   string
	// body is the file without line breaks and indentation.
	body json.RawMessage
	// payload is the compact payload, which the receiver looks for.
	payload string
}

// Samples returns the events of the demo in alphabetical order of their files.
func Samples() ([]Sample, error) {
	es, err := sample.Events()
	if err != nil {
		return nil, err
	}
	out := make([]Sample, len(es))
	for i, e := range es {
		out[i] = Sample{Name: e.Name, Channel: e.Channel, Event: e.Event, body: e.Body, payload: string(e.Payload)}
	}
	return out, nil
}

// withID is the body of the event under an id.
func (s Sample) withID(id string) json.RawMessage {
	head := fmt.Sprintf(`{"eventId":%q,`, id)
	return slices.Concat([]byte(head), s.body[1:])
}

func compact(b []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// channels returns the channels of the samples in their order, each once.
func channels(ss []Sample) []string {
	var out []string
	for _, s := range ss {
		if !slices.Contains(out, s.Channel) {
			out = append(out, s.Channel)
		}
	}
	return out
}

// eventsOf returns the event names of one channel's samples, each once.
func eventsOf(ss []Sample, channel string) []string {
	var out []string
	for _, s := range ss {
		if s.Channel == channel && !slices.Contains(out, s.Event) {
			out = append(out, s.Event)
		}
	}
	return out
}
