// Package rest is the small HTTP client of the command line: JSON in, JSON
// out, and errors of both error models as one readable line. It talks to nodes
// only; what nodes send to webhooks is not its business.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

const (
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 16 << 20
	// DefaultTimeout bounds one request, when Options names none.
	DefaultTimeout = 30 * time.Second
)

// Options says where a Client sends its requests.
type Options struct {
	// URL is the base address of a node, such as http://127.0.0.1:8600.
	URL string
	// Key is sent as "Authorization: App <key>", unless it is empty.
	Key model.Secret
	// Timeout bounds one request with its answer. 0: DefaultTimeout.
	Timeout time.Duration
}

// Client talks to one node. It is safe for concurrent use.
type Client struct {
	base string
	key  model.Secret
	http *http.Client
}

// New makes a Client. The URL must be http or https with a host.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("the address of a node must be a URL such as http://127.0.0.1:8600")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Client{
		base: strings.TrimSuffix(o.URL, "/"),
		key:  o.Key,
		http: &http.Client{
			Timeout:   o.Timeout,
			Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, IdleConnTimeout: 30 * time.Second},
			// The key must not follow a redirect to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// StatusError is an answer of 300 or more.
type StatusError struct {
	Status int
	// Text is what the node said, in one line.
	Text string
}

// Error gives status and text.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the node answered %d: %s", e.Status, e.Text)
}

// JSON sends in as JSON (nil: no body) and decodes the answer into out (nil:
// it is dropped). An answer of 300 or more is a *StatusError.
func (c *Client) JSON(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	answer, err := c.Raw(ctx, method, path, "application/json", body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON that was expected: %w", method, path, err)
	}
	return nil
}

// Raw sends body (nil: none) as contentType and returns the answer's body.
func (c *Client) Raw(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if !c.key.IsZero() {
		req.Header.Set("Authorization", "App "+c.key.Reveal())
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer from %s: %w", c.base, cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", c.base, maxAnswer)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, &StatusError{Status: resp.StatusCode, Text: errorText(b)}
	}
	return b, nil
}

// cause drops the method and URL that net/http repeats.
func cause(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}

// errorText makes one line of an answer in either error model.
func errorText(b []byte) string {
	var a struct {
		RequestError struct {
			ServiceException struct {
				Text             string              `json:"text"`
				ValidationErrors map[string][]string `json:"validationErrors"`
			} `json:"serviceException"`
		} `json:"requestError"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Pointer string `json:"pointer"`
			Detail  string `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(b, &a) != nil {
		return oneLine(string(b))
	}
	var parts []string
	for _, p := range []string{a.RequestError.ServiceException.Text, a.Title, a.Detail} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	ve := a.RequestError.ServiceException.ValidationErrors
	for _, field := range slices.Sorted(maps.Keys(ve)) {
		parts = append(parts, field+": "+strings.Join(ve[field], ", "))
	}
	for _, e := range a.Errors {
		parts = append(parts, strings.TrimSpace(e.Pointer+" "+e.Detail))
	}
	if len(parts) == 0 {
		return oneLine(string(b))
	}
	return oneLine(strings.Join(parts, "; "))
}

// oneLine makes a foreign text fit for a terminal.
func oneLine(s string) string {
	const most = 1000
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most] + "…"
	}
	if s = strings.Join(strings.Fields(s), " "); s == "" {
		return "(no text)"
	}
	return s
}
