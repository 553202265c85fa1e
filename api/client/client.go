// Package client is the Go client of a belfry node: one method per operation,
// errors as *model.Error, several nodes to choose from.
//
// It does not deliver webhooks and does not speak to peers.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/belfry/fsm/model"
)

const (
	// MaxAnswer is how much of an answer is read, in bytes.
	MaxAnswer = 16 << 20
	// DefaultTimeout bounds one try when Options brings no HTTPClient.
	DefaultTimeout = 30 * time.Second
	// defaultMaxWait bounds one wait between tries.
	defaultMaxWait = 5 * time.Second
	firstWait      = 100 * time.Millisecond
)

// Options says which nodes a Client talks to and as whom.
type Options struct {
	// BaseURLs are the addresses of nodes, such as http://127.0.0.1:8600. At
	// least one.
	BaseURLs []string
	// Key is sent as "Authorization: App <key>" unless it is empty.
	Key model.Secret
	// Token is sent in Key's place as "Authorization: <TokenScheme> <token>".
	Token model.Secret
	// TokenScheme is IBSSO or Bearer. Default IBSSO.
	TokenScheme string
	// HTTPClient makes the requests; its redirect policy is replaced. nil: one
	// with DefaultTimeout and connections of its own.
	HTTPClient *http.Client
	// Transport makes the requests of a client without an HTTPClient in place of
	// connections. nil: connections.
	Transport http.RoundTripper
	Retry     Retry
}

// Retry says how long a Client keeps trying. The zero value tries each node
// once.
type Retry struct {
	// Attempts is how many rounds over the nodes are made. 0 and 1: one.
	Attempts int
	// MaxWait bounds the wait between rounds, whatever Retry-After says.
	// Default 5 s.
	MaxWait time.Duration
}

// Client talks to the nodes of one cluster. It is safe for concurrent use.
type Client struct {
	bases []string
	auth  string
	http  *http.Client
	retry Retry
	last  atomic.Int64 // the base that answered last
}

// New makes a Client.
func New(o Options) (*Client, error) {
	if len(o.BaseURLs) == 0 {
		return nil, errors.New("client: Options needs a base URL")
	}
	c := &Client{retry: o.Retry}
	for _, b := range o.BaseURLs {
		u, err := url.Parse(b)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, errors.New("client: the address of a node must be a URL such as http://127.0.0.1:8600")
		}
		c.bases = append(c.bases, strings.TrimRight(b, "/"))
	}
	switch {
	case !o.Token.IsZero():
		scheme := o.TokenScheme
		if scheme == "" {
			scheme = "IBSSO"
		}
		c.auth = scheme + " " + o.Token.Reveal()
	case !o.Key.IsZero():
		c.auth = "App " + o.Key.Reveal()
	}
	if !printable(c.auth) {
		return nil, errHeader
	}
	if c.retry.MaxWait <= 0 {
		c.retry.MaxWait = defaultMaxWait
	}
	h := http.Client{Timeout: DefaultTimeout, Transport: o.Transport}
	if o.HTTPClient != nil {
		h = *o.HTTPClient
	}
	if h.Transport == nil {
		h.Transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 64,
		}
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &h
	return c, nil
}

var errHeader = errors.New("client: the credentials hold characters that a header cannot carry")

// printable reports whether a header can carry s.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f })
}

// CloseIdle closes the connections that no request uses.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// call is one operation.
type call struct {
	method, path string
	query        url.Values
	in           any    // encoded as JSON unless raw is set
	raw          []byte // body as it is
	contentType  string // of raw
	out          any    // decoded from JSON; *[]byte takes the body as it is; nil drops it
	auth         string // in place of the client's
	accept       string
	// repeatable calls may be sent again after a lost answer.
	repeatable bool
	// anyStatus, when set, takes the status; no status is an error then.
	anyStatus *int
}

// Do makes a request that has no method of its own: body (nil: none) is sent
// as JSON, out (nil: dropped) is decoded from the answer. path starts with a
// slash and is percent-encoded already. GET, PUT and DELETE may be sent twice.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	return c.do(ctx, call{method: method, path: path, in: body, out: out})
}

func (c *Client) do(ctx context.Context, k call) error {
	if !printable(k.auth) {
		return errHeader
	}
	if k.in != nil {
		b, err := json.Marshal(k.in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		k.raw, k.contentType = b, "application/json"
	}
	if len(k.query) > 0 {
		k.path += "?" + k.query.Encode()
	}
	k.repeatable = k.repeatable || k.method == http.MethodGet || k.method == http.MethodPut || k.method == http.MethodDelete
	var err error
	for round := range max(1, c.retry.Attempts) {
		if round > 0 && !c.wait(ctx, round, err) {
			return err
		}
		var again bool
		if again, err = c.round(ctx, k); err == nil || !again {
			return err
		}
	}
	return err
}

// round asks the nodes in turn until one gives an answer that stands. again
// says whether another round may be made.
func (c *Client) round(ctx context.Context, k call) (again bool, err error) {
	first := int(c.last.Load())
	for i := range c.bases {
		at := (first + i) % len(c.bases)
		var lost bool
		lost, err = c.try(ctx, c.bases[at], k)
		if err == nil {
			c.last.Store(int64(at))
			return false, nil
		}
		if ctx.Err() != nil {
			return false, err
		}
		code := model.CodeOf(err)
		switch {
		// INV client-1: what may have been applied is sent again only if that
		// is safe.
		case lost && !k.repeatable, code == model.CodeUnknownOutcome && !k.repeatable:
			return false, err
		case lost, code == model.CodeUnavailable, code == model.CodeUnknownOutcome:
			continue
		default:
			c.last.Store(int64(at))
			return code == model.CodeLimit, err
		}
	}
	return true, err
}

// wait pauses between two rounds: as long as the node asked for, or twice as
// long as the time before.
func (c *Client) wait(ctx context.Context, round int, err error) bool {
	d := firstWait << min(round-1, 10)
	if e, ok := errors.AsType[*model.Error](err); ok && e.RetryAfter > 0 {
		d = c.retry.MaxWait // what a node asks for may overflow
		if e.RetryAfter <= int(d/time.Second) {
			d = time.Duration(e.RetryAfter) * time.Second
		}
	}
	t := time.NewTimer(min(d, c.retry.MaxWait))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// try sends one request to one node. lost says that the request went out and
// no answer came back.
func (c *Client) try(ctx context.Context, base string, k call) (lost bool, err error) {
	ctx, sent := c.watch(ctx)
	req, err := http.NewRequestWithContext(ctx, k.method, base+k.path, bytes.NewReader(k.raw))
	if err != nil {
		return false, fmt.Errorf("%s %s: %w", k.method, k.path, err)
	}
	auth := c.auth
	if k.auth != "" {
		auth = k.auth
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	if k.raw != nil {
		req.Header.Set("Content-Type", k.contentType)
	}
	if k.accept == "" {
		k.accept = "application/json"
	}
	req.Header.Set("Accept", k.accept)
	h := *c.http
	sink, streams := k.out.(io.Writer)
	if streams {
		h.Timeout = 0 // it would end the stream
	}
	resp, err := h.Do(req)
	if err != nil {
		return noAnswer(base, sent.Load(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	if streams && resp.StatusCode < 300 {
		if _, err := io.Copy(sink, resp.Body); err != nil { // a part is written: not once more
			return false, fmt.Errorf("%s %s: the answer broke off: %w", k.method, k.path, err)
		}
		return false, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if err != nil {
		return noAnswer(base, true, err)
	}
	if len(b) > MaxAnswer {
		return false, fmt.Errorf("%s %s: the answer is larger than %d bytes", k.method, k.path, MaxAnswer)
	}
	if k.anyStatus != nil {
		*k.anyStatus = resp.StatusCode
	} else if resp.StatusCode >= 300 {
		return false, errorOf(resp, b)
	}
	return false, k.take(b)
}

func (k *call) take(b []byte) error {
	switch out := k.out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = b
		return nil
	}
	if err := json.Unmarshal(b, k.out); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON that was expected: %w", k.method, k.path, err)
	}
	return nil
}

// watch notes whether a request may have left: it has not as long as there was
// no connection for it. Of a transport that is not the standard library's it
// is taken to have left.
func (c *Client) watch(ctx context.Context) (context.Context, *atomic.Bool) {
	var sent atomic.Bool
	if _, known := c.http.Transport.(*http.Transport); !known {
		sent.Store(true)
		return ctx, &sent
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { sent.Store(true) },
		WroteHeaders: func() { sent.Store(true) },
	}), &sent
}

// noAnswer tells a request that never left from one whose answer was lost.
func noAnswer(base string, sent bool, err error) (lost bool, _ error) {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		sent = false
	}
	if !sent {
		reason := err
		if ue, ok := errors.AsType[*url.Error](err); ok {
			reason = ue.Err // without the URL, whose query is nobody's business
		}
		return false, model.Errorf(model.CodeUnavailable, "no connection to %s: %v", base, reason).WithCause(err)
	}
	return true, model.Errorf(model.CodeUnknownOutcome, "no answer from %s; it may have done what was asked", base).WithCause(err)
}

// statusCodes is what an answer means that names no code: it came from
// something between us and the node, which may have got the request.
var statusCodes = map[int]model.Code{
	http.StatusBadRequest: model.CodeInvalid, http.StatusUnauthorized: model.CodeUnauthorized, http.StatusForbidden: model.CodeForbidden,
	http.StatusNotFound: model.CodeNotFound, http.StatusConflict: model.CodeConflict, http.StatusRequestEntityTooLarge: model.CodeTooLarge,
	http.StatusUnsupportedMediaType: model.CodeInvalid, http.StatusMethodNotAllowed: model.CodeInvalid,
	http.StatusTooManyRequests: model.CodeLimit, http.StatusServiceUnavailable: model.CodeUnknownOutcome,
	http.StatusBadGateway: model.CodeUnknownOutcome, http.StatusGatewayTimeout: model.CodeUnknownOutcome,
}

// answer holds the members of every error model: problem+json, the contract's
// and OAuth2's.
type answer struct {
	Detail string     `json:"detail"`
	Title  string     `json:"title"`
	Code   model.Code `json:"code"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
	Request struct {
		Service struct {
			Text   string              `json:"text"`
			Errors map[string][]string `json:"validationErrors"`
		} `json:"serviceException"`
	} `json:"requestError"`
	OAuth            string `json:"error"`
	OAuthDescription string `json:"error_description"`
}

func errorOf(resp *http.Response, body []byte) error {
	var a answer
	_ = json.Unmarshal(body, &a) // another form than ours leaves a empty
	e := &model.Error{Code: model.Code(resp.Header.Get("Belfry-Error-Code"))}
	for _, code := range []model.Code{a.Code, statusCodes[resp.StatusCode], model.CodeInternal} {
		if e.Code == "" {
			e.Code = code
		}
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.RetryAfter = n
	}
	for _, f := range a.Errors {
		e.Fields = append(e.Fields, model.FieldError{Field: f.Pointer, Message: f.Detail})
	}
	for field, texts := range a.Request.Service.Errors {
		for _, text := range texts {
			e.Fields = append(e.Fields, model.FieldError{Field: field, Message: text})
		}
	}
	slices.SortStableFunc(e.Fields, func(x, y model.FieldError) int { return strings.Compare(x.Field, y.Field) })
	for _, text := range []string{a.Detail, a.Request.Service.Text, a.OAuthDescription, a.OAuth, a.Title} {
		if e.Message == "" {
			e.Message = text
		}
	}
	if e.Message == "" {
		e.Message = "the node answered " + resp.Status
	}
	return e
}

// path joins parts, each percent-encoded, behind a fixed prefix.
func path(prefix string, parts ...string) string {
	var b strings.Builder
	b.WriteString(prefix)
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}
