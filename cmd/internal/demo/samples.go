package demo

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
)

//go:embed samples/*.json
var sampleFiles embed.FS

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
	const dir = "samples"
	entries, err := sampleFiles.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []Sample
	for _, e := range entries {
		b, err := sampleFiles.ReadFile(dir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		s, err := parseSample(e.Name(), b)
		if err != nil {
			return nil, fmt.Errorf("sample %s: %w", e.Name(), err)
		}
		out = append(out, s)
	}
	return out, nil
}

func parseSample(file string, b []byte) (Sample, error) {
	var e struct {
		Channel, Event string
		Payload        json.RawMessage
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return Sample{}, err
	}
	body, err := compact(b)
	if err != nil {
		return Sample{}, err
	}
	payload, err := compact(e.Payload)
	if err != nil {
		return Sample{}, err
	}
	return Sample{Name: file[:len(file)-len(".json")], Channel: e.Channel, Event: e.Event, body: body, payload: string(payload)}, nil
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
