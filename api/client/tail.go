package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	// tailSilence is how long a stream may be silent; nodes send a comment more
	// often than that.
	tailSilence = 45 * time.Second
	// maxTailLine bounds one line of a stream, in bytes.
	maxTailLine = 1 << 20
)

var errSilent = errors.New("the node has been silent for too long")

// Tail calls take with each entry as it happens, alone in its batch, and with
// what was dropped; Unreachable is the set that holds then. It returns the
// error of take, that of ctx, or nil when the node ended the stream because it
// stops or the credentials do: call it again then. A timeout of the
// HTTPClient does not apply.
func (c *Client) Tail(ctx context.Context, f event.TailFilter, take func(event.TailBatch) error) error {
	q, err := queryOf(f)
	if err != nil {
		return err
	}
	target := tailPath
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	first := int(c.last.Load())
	for i := range c.bases {
		at := (first + i) % len(c.bases)
		var open bool
		open, err = c.tail(ctx, c.bases[at], target, take)
		code := model.CodeOf(err)
		if open || ctx.Err() != nil || code != model.CodeUnavailable && code != model.CodeUnknownOutcome {
			c.last.Store(int64(at))
			return err
		}
	}
	return err
}

// tail reads the stream of one node. open says that there was one.
func (c *Client) tail(ctx context.Context, base, target string, take func(event.TailBatch) error) (open bool, _ error) {
	live, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(tailSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	req, err := http.NewRequestWithContext(live, http.MethodGet, base+target, nil)
	if err != nil {
		return false, fmt.Errorf("GET %s: %w", tailPath, err)
	}
	if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	req.Header.Set("Accept", "text/event-stream")
	h := *c.http
	h.Timeout = 0 // it would end the stream
	resp, err := h.Do(req)
	if err != nil {
		_, err = noAnswer(base, true, err)
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		b, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
		if err != nil {
			_, err = noAnswer(base, true, err)
			return false, err
		}
		return false, errorOf(resp, b)
	}
	s := stream{lines: bufio.NewScanner(resp.Body), take: take}
	s.lines.Buffer(nil, maxTailLine)
	err = s.read(func() { silence.Reset(tailSilence) })
	switch {
	case ctx.Err() != nil:
		return true, ctx.Err()
	case context.Cause(live) != nil:
		return true, model.Errorf(model.CodeUnavailable, "%s: %v", base, errSilent)
	}
	return true, err
}

// stream reads server-sent events.
type stream struct {
	lines       *bufio.Scanner
	take        func(event.TailBatch) error
	unreachable []string
}

// read hands on what comes until the stream or take ends; heard is called for
// every line.
func (s *stream) read(heard func()) error {
	var name, data string
	for s.lines.Scan() {
		heard()
		field, value, _ := strings.Cut(s.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case s.lines.Text() == "":
			if err := s.event(name, data); err != nil {
				return err
			}
			name, data = "", ""
		case field == "event":
			name = value
		case field == "data":
			data += value
		default: // a comment, or a field of a newer node
		}
	}
	if err := s.lines.Err(); err != nil {
		return model.Errorf(model.CodeUnavailable, "the stream broke off").WithCause(err)
	}
	return nil
}

// event hands on one event; those of a newer node are passed over.
func (s *stream) event(name, data string) error {
	var b event.TailBatch
	var err error
	switch name {
	case string(event.TailAccepted), string(event.TailAttempt):
		b.Entries = make([]event.TailEntry, 1)
		err = json.Unmarshal([]byte(data), &b.Entries[0])
	case "dropped":
		var in struct {
			Dropped uint64 `json:"dropped"`
		}
		err = json.Unmarshal([]byte(data), &in)
		b.Dropped = in.Dropped
	case "nodes":
		var in struct {
			Unreachable []string `json:"unreachableNodes"`
		}
		err = json.Unmarshal([]byte(data), &in)
		s.unreachable = in.Unreachable
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("GET %s: the stream is not what was expected: %w", tailPath, err)
	}
	b.Unreachable = s.unreachable
	return s.take(b)
}
