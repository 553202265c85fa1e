package workload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	maxArrivalBody = 16 << 20 // bytes
	strangeHead    = 200      // bytes kept of what no workload posted
	closeWait      = 2 * time.Second
)

// sink is the receiver of a workload: an HTTP server that writes down every
// request. Where it is told to, it answers badly.
type sink struct {
	e       *env
	process string
	base    string // its URL
	keys    keyring
	srv     *http.Server
	life    context.Context //nolint:containedctx // of the server: it wakes handlers that hang

	// behave says how an arrival is answered. nil: 200. It must be set before
	// the first request.
	behave func(history.Arrived) behaviour
}

// newSink listens and serves until the workload is closed.
func (e *env) newSink(ctx context.Context, behave func(history.Arrived) behaviour) (*sink, error) {
	l, err := e.listen(ctx)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	s := &sink{e: e, process: e.name + "-sink", base: "http://" + l.Addr().String(), behave: behave, life: life}
	s.srv = &http.Server{
		Handler: s, ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	served := make(chan error, 1)
	go func() { served <- s.srv.Serve(&timedListener{l, e.rec.Now}) }()
	e.onClose(func() error {
		end()
		// Handlers must have written their history before it is closed.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
		defer cancel()
		err := s.srv.Shutdown(ctx)
		if err != nil {
			err = s.srv.Close()
		}
		if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
		if err != nil {
			return fmt.Errorf("receiver: %w", err)
		}
		return nil
	})
	return s, nil
}

func (e *env) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(e.o.Host, "0"))
	if err != nil {
		return nil, fmt.Errorf("workload %s: receiver: %w", e.name, err)
	}
	return l, nil
}

// url is the address of a destination. Each version of it has its own, so that
// an arrival says which it was sent to.
func (s *sink) url(account, dest string, version int) string {
	return s.base + "/" + account + "/" + dest + "/" + strconv.Itoa(version)
}

type connKey struct{}

// timedListener and timedConn note when the first byte of a request came:
// net/http tells it when the header is whole.
type timedListener struct {
	net.Listener
	now func() int64
}

func (l *timedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: c, now: l.now}, nil
}

type timedConn struct {
	net.Conn
	now   func() int64
	first atomic.Int64 // 0: no byte of the next request was seen
}

func (c *timedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.first.Load() == 0 {
		c.first.Store(max(1, c.now()))
	}
	return n, err
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := history.Op{Process: s.process, Kind: history.Arrival, Call: s.e.rec.Now()}
	conn, timed := r.Context().Value(connKey{}).(*timedConn)
	if timed {
		op.Call = conn.first.Load()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxArrivalBody))
	if timed {
		conn.first.Store(0) // the next byte is that of the next request
	}
	in := s.arrived(r, body, err == nil)
	op.Key = in.Dest
	var b behaviour
	if s.behave != nil {
		b = s.behave(in)
		in.Behaviour, in.RetryAfter = b.name, b.retryMs
	}
	if err != nil {
		op.Outcome, op.Error = history.Unknown, "the request is not whole: "+err.Error()
	} else {
		err = b.answer(s.life, w, r)
		op.Status = b.statusOf()
		switch {
		case err != nil:
			op.Outcome, op.Error = history.Unknown, err.Error()
		case op.Status/100 == 2:
			op.Outcome = history.OK
		default:
			op.Outcome = history.Fail
		}
	}
	op.Return = s.e.rec.Now()
	op.In = history.JSON(in)
	s.e.rec.Record(op)
	if b.abort {
		panic(http.ErrAbortHandler) // the connection ends here, without an answer
	}
}

// arrived reads a request. The body of one that is not whole, as its sender was
// killed, says nothing: neither what is in it nor whether its signature fits.
func (s *sink) arrived(r *http.Request, body []byte, whole bool) history.Arrived {
	in := history.Arrived{WebhookID: r.Header.Get("Webhook-Id")}
	in.Attempt, _ = strconv.Atoi(r.Header.Get("Belfry-Attempt"))
	if p := strings.Split(r.URL.Path, "/"); len(p) >= 4 {
		in.Account, in.Dest = p[1], p[2]
		in.URLVersion, _ = strconv.Atoi(p[3])
	}
	in.Auth, in.Version = s.keys.recognise(in.Dest, r.Header, body)
	switch {
	case whole:
		readEvents(&in, body)
	case in.Auth == typeHMAC:
		in.Auth, in.Version = "", 0
	}
	return in
}

// batchPrefix begins the body of the families that share requests.
var batchPrefix = []byte(`{"results":[`)

// readEvents takes the events out of a body.
func readEvents(in *history.Arrived, body []byte) {
	members := []json.RawMessage{body}
	if bytes.HasPrefix(body, batchPrefix) {
		var batch struct {
			Results []json.RawMessage `json:"results"`
		}
		if json.Unmarshal(body, &batch) == nil {
			members = batch.Results
		}
	}
	for _, m := range members {
		e, ok := history.ParsePayload(m)
		if !ok {
			sum := sha256.Sum256(m)
			in.Strange = append(in.Strange, history.Strange{SHA256: hex.EncodeToString(sum[:]), Head: string(m[:min(len(m), strangeHead)])})
			continue
		}
		run := history.Run{Producer: e.Producer, From: e.N, N: 1, Pad: e.Pad}
		if e.Account != in.Account {
			run.Account = e.Account
		}
		if n := len(in.Runs); n > 0 {
			last := &in.Runs[n-1]
			if last.Producer == run.Producer && last.Pad == run.Pad && last.Account == run.Account && last.From+int64(last.N) == run.From {
				last.N++
				continue
			}
		}
		in.Runs = append(in.Runs, run)
	}
}

// switchable is a flag that a workload turns while its receiver runs.
type switchable struct {
	mu sync.Mutex
	on map[string]bool
}

func (f *switchable) set(name string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.on == nil {
		f.on = map[string]bool{}
	}
	f.on[name] = on
}

func (f *switchable) get(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.on[name]
}
