package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"example.com/belfry/fsm/model"
)

const (
	headerFrom = "Belfry-From"
	pathPrefix = "/call/"
	// statusError marks a reply whose body is a *model.Error.
	statusError = http.StatusUnprocessableEntity
)

// Handle registers the handler of method, replacing an earlier one.
func (t *Transport) Handle(method string, h Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handlers[method] = h
}

func (t *Transport) newHTTP(fresh bool) *http.Transport {
	return &http.Transport{
		Proxy: nil, // peers are never reached through the environment's proxy
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, DialTimeout)
			defer cancel()
			return t.dial(ctx, addr, []byte{kindCall})
		},
		DisableKeepAlives: fresh, DisableCompression: true,
		MaxIdleConnsPerHost: MaxConnsPerPeer, MaxConnsPerHost: MaxConnsPerPeer,
		IdleConnTimeout: idleTimeout / 2, MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// Call calls a method of another node over a pooled connection.
func (t *Transport) Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	addr, ok := t.o.Resolve(nodeID)
	if !ok {
		return nil, t.count(model.Errorf(model.CodeUnavailable, "the address of node %q is not known", nodeID))
	}
	reply, err := t.do(ctx, t.pooled, addr, method, body)
	return reply, t.count(err)
}

// Query is Call for a method that may be carried out twice: a request that
// got lost is sent once more over a fresh connection, because after a peer
// has vanished every pooled connection to it may be dead without a sign.
func (t *Transport) Query(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	addr, ok := t.o.Resolve(nodeID)
	if !ok {
		return nil, t.count(model.Errorf(model.CodeUnavailable, "the address of node %q is not known", nodeID))
	}
	return t.QueryAddr(ctx, addr, method, body)
}

// QueryAddr is Query to an address, for nodes that are not members yet.
func (t *Transport) QueryAddr(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	reply, err := t.do(ctx, t.pooled, addr, method, body)
	if errors.Is(err, errLost) && ctx.Err() == nil {
		reply, err = t.do(ctx, t.fresh, addr, method, body)
	}
	return reply, t.count(err)
}

func (t *Transport) count(err error) error {
	t.o.Observe(model.CodeOf(err))
	return err
}

// errLost marks failures of the connection, as against answers of the peer.
var errLost = errors.New("the connection to the peer was lost")

func (t *Transport) do(ctx context.Context, rt *http.Transport, addr, method string, body []byte) ([]byte, error) {
	if int64(len(body)) > t.o.MaxBody {
		return nil, model.Errorf(model.CodeTooLarge, "a call of %d bytes to a peer is over the limit of %d", len(body), t.o.MaxBody)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, CallTimeout)
		defer cancel()
	}
	// INV transport-2. A try of net/http that wrote nothing is repeated by it on another
	// connection, so only the last try counts.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	u := url.URL{Scheme: "http", Host: addr, Path: pathPrefix + method} // TLS is below, in dial
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, model.Errorf(model.CodeUnavailable, "the peer address %q is not usable", addr).WithCause(err)
	}
	req.Header.Set(headerFrom, t.o.NodeID)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, t.lost(sent.Load(), addr, err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, t.o.MaxBody+1))
	if err != nil {
		return nil, t.lost(true, addr, err)
	}
	if int64(len(reply)) > t.o.MaxBody {
		return nil, model.Errorf(model.CodeUnknownOutcome, "the reply of a peer is over the limit of %d bytes", t.o.MaxBody)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return reply, nil
	case statusError:
		e := new(model.Error)
		if err := json.Unmarshal(reply, e); err != nil || e.Code == "" {
			return nil, model.Errorf(model.CodeUnknownOutcome, "a peer's error could not be read").WithCause(err)
		}
		return nil, e
	default:
		return nil, model.Errorf(model.CodeUnknownOutcome, "a peer answered with status %d", resp.StatusCode)
	}
}

func (t *Transport) lost(sent bool, addr string, err error) error {
	// The next call dials: what broke one pooled connection broke its siblings.
	t.pooled.CloseIdleConnections()
	cause := errors.Join(errLost, err)
	if !sent {
		return model.Errorf(model.CodeUnavailable, "the peer at %s cannot be reached", addr).WithCause(cause)
	}
	return model.Errorf(model.CodeUnknownOutcome, "the answer of the peer at %s was lost", addr).WithCause(cause)
}

// serve answers calls from peers.
func (t *Transport) serve(w http.ResponseWriter, r *http.Request) {
	method, ok := cutPrefix(r.URL.Path)
	t.mu.Lock()
	h, closed := t.handlers[method], t.closed
	if !closed {
		t.wg.Add(1) // Close waits: what a handler uses may be closed next
		defer t.wg.Done()
	}
	t.mu.Unlock()
	if closed {
		t.fail(w, model.Errorf(model.CodeUnavailable, "this node is stopping"))
		return
	}
	if !ok || h == nil || r.Method != http.MethodPost {
		t.fail(w, model.Errorf(model.CodeUnavailable, "this node has no peer method %q", method))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, t.o.MaxBody))
	if err != nil {
		code := model.CodeUnavailable
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			code = model.CodeTooLarge
		}
		t.fail(w, model.Errorf(code, "the call of a peer could not be read; the limit is %d bytes", t.o.MaxBody))
		return
	}
	reply, err := h(r.Context(), r.Header.Get(headerFrom), body)
	if err != nil {
		e, ok := errors.AsType[*model.Error](err)
		if !ok {
			t.log.Error("a call of a peer failed", "method", method, "err", err)
			e = model.Errorf(model.CodeInternal, "internal error")
		}
		t.fail(w, e)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(reply)
}

func (t *Transport) fail(w http.ResponseWriter, e *model.Error) {
	b, err := json.Marshal(e)
	if err != nil { // strings and ints always encode
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusError)
	_, _ = w.Write(b)
}

func cutPrefix(path string) (string, bool) {
	if len(path) <= len(pathPrefix) || path[:len(pathPrefix)] != pathPrefix {
		return "", false
	}
	return path[len(pathPrefix):], true
}
