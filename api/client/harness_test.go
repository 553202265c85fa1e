package client

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.com/belfry/fsm/model"
)

const testKey = "canary-8d1f0c-key"

// sent is one request as a node got it.
type sent struct {
	host, line, body string // line: "GET /path?query"
	header           http.Header
}

// reply is one answer, or the error of a try.
type reply struct {
	status int
	body   string
	header map[string]string
	err    error
}

// script is a transport that answers by host, in turn; the last reply of a
// host stands for all that follow.
type script struct {
	mu      sync.Mutex
	replies map[string][]reply
	seen    []sent
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
	}
	s.seen = append(s.seen, sent{req.URL.Host, req.Method + " " + req.URL.RequestURI(), string(body), req.Header.Clone()})
	list := s.replies[req.URL.Host]
	if len(list) == 0 {
		return nil, errors.New("no reply in the script")
	}
	r := list[0]
	if len(list) > 1 {
		s.replies[req.URL.Host] = list[1:]
	}
	if r.err != nil {
		return nil, r.err
	}
	res := &http.Response{
		StatusCode: r.status, Status: strconv.Itoa(r.status) + " " + http.StatusText(r.status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(r.body)), Request: req,
	}
	for k, v := range r.header {
		res.Header.Set(k, v)
	}
	return res, nil
}

// hosts are the nodes that were asked, in order.
func (s *script) hosts() string {
	var out []string
	for _, r := range s.seen {
		out = append(out, r.host)
	}
	return strings.Join(out, " ")
}

// errDial is how a connection fails that nobody takes; errCut is one that
// breaks after the request.
var (
	errDial = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	errCut  = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
)

// newScripted makes a client of nodes a, b, c … as many as replies has.
func newScripted(t *testing.T, retry Retry, replies ...[]reply) (*Client, *script) {
	t.Helper()
	s := &script{replies: map[string][]reply{}}
	o := Options{Key: model.NewSecret(testKey), HTTPClient: &http.Client{Transport: s}, Retry: retry}
	for i, list := range replies {
		host := string(rune('a' + i))
		o.BaseURLs = append(o.BaseURLs, "http://"+host)
		s.replies[host] = list
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// asError gives the model's error or fails the test.
func asError(t *testing.T, err error) *model.Error {
	t.Helper()
	e, ok := errors.AsType[*model.Error](err)
	if !ok {
		t.Fatalf("%v is no *model.Error", err)
	}
	return e
}

func newHTTP(rt http.RoundTripper) *http.Client { return &http.Client{Transport: rt} }
