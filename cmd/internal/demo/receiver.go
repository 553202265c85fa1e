package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/belfry/cmd/internal/signature"
	"example.com/belfry/fsm/model"
)

// maxHookBody is the size of the largest request that the receiver reads.
const maxHookBody = 8 << 20

// setting is one security setting of the demo.
type setting struct {
	authID    string
	algorithm string // empty: BASIC
	username  string
	secret    model.Secret
}

// receiver is the built-in webhook: it verifies, prints and counts.
type receiver struct {
	url string
	srv *http.Server
	out *printer

	// settings holds the security setting of each path's last part.
	settings map[string]setting

	mu       sync.Mutex
	open     map[string][]arrivalKey // payload → what waits for it
	waiting  int
	complete chan struct{}   // closed when nothing waits any more
	seen     map[string]bool // webhook ids
	failed   int             // requests that did not verify
}

type arrivalKey struct {
	event  string
	posted time.Time
}

func newReceiver(out *printer, settings map[string]setting) (*receiver, error) {
	l, err := net.Listen("tcp", loopback+":0") //nolint:noctx // binding a loopback port does not wait
	if err != nil {
		return nil, fmt.Errorf("the demo's webhook: %w", err)
	}
	r := &receiver{
		url: "http://" + l.Addr().String(), out: out, settings: settings,
		open: map[string][]arrivalKey{}, complete: make(chan struct{}), seen: map[string]bool{},
	}
	r.srv = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	go func() { _ = r.srv.Serve(l) }() // ends with close
	return r, nil
}

func (r *receiver) close() { _ = r.srv.Close() }

// expect registers samples before they are posted.
func (r *receiver) expect(ss []Sample, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range ss {
		k := s.Channel + " " + s.payload
		r.open[k] = append(r.open[k], arrivalKey{s.Event, now})
		r.waiting++
	}
}

// missing names the events that have not arrived.
func (r *receiver) missing() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for k, as := range r.open {
		channel, _, _ := strings.Cut(k, " ")
		for _, a := range as {
			out = append(out, channel+" "+a.event)
		}
	}
	return out
}

func (r *receiver) failures() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// ServeHTTP takes one webhook request.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	channel := strings.TrimPrefix(req.URL.Path, hookPrefix)
	set, ok := r.settings[channel]
	if !ok || req.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxHookBody))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	verdict, err := set.verify(req.Header, body, time.Now())
	if err != nil {
		r.mu.Lock()
		r.failed++
		r.mu.Unlock()
		r.out.printf("  ✗ %-15s refused: %v", channel, err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.arrived(channel, req.Header.Get(signature.HeaderID), verdict, body)
	w.WriteHeader(http.StatusOK)
}

// verify checks the credentials of a request and says which were there.
func (s setting) verify(h http.Header, body []byte, now time.Time) (string, error) {
	if s.algorithm == "" {
		if err := signature.Basic(h, s.username, s.secret); err != nil {
			return "", fmt.Errorf("basic authentication: %w", err)
		}
		return "Basic ok", nil
	}
	if err := signature.HMAC(h, signature.DefaultHeader, s.algorithm, s.secret, body); err != nil {
		return "", err
	}
	if err := signature.Standard(h, s.secret, body, now); err != nil {
		return "", err
	}
	return strings.ReplaceAll(s.algorithm, "_", " ") + " ok, Standard Webhooks ok", nil
}

// elements splits a body into payloads: those of "results", or the body itself.
func elements(body []byte) []json.RawMessage {
	var batch struct {
		Results []json.RawMessage `json:"results"`
	}
	if json.Unmarshal(body, &batch) == nil && batch.Results != nil {
		return batch.Results
	}
	return []json.RawMessage{body}
}

func (r *receiver) arrived(channel, webhookID, verdict string, body []byte) {
	now := time.Now()
	r.mu.Lock()
	again := ""
	if r.seen[webhookID] {
		again = " (again, with the same webhook-id)"
	}
	r.seen[webhookID] = true
	r.mu.Unlock()
	for _, e := range elements(body) {
		name, after, known := r.take(channel, e, now)
		switch {
		case known:
			r.out.printf("  ✓ %-15s %-20s %s, %d ms after it was posted%s", channel, name, verdict, after.Milliseconds(), again)
		default:
			r.out.printf("  ✓ %-15s %-20s %s%s  %s", channel, "(an event of yours)", verdict, again, short(e))
		}
	}
	// After the lines: who waits for the last arrival prints next.
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == 0 && len(r.open) == 0 {
		select {
		case <-r.complete:
		default:
			close(r.complete)
		}
	}
}

// take strikes one payload off the list of what is expected.
func (r *receiver) take(channel string, payload json.RawMessage, now time.Time) (event string, after time.Duration, known bool) {
	c, err := compact(payload)
	if err != nil {
		return "", 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := channel + " " + string(c)
	as := r.open[k]
	if len(as) == 0 {
		return "", 0, false
	}
	if r.open[k] = as[1:]; len(as) == 1 {
		delete(r.open, k)
	}
	r.waiting--
	return as[0].event, now.Sub(as[0].posted), true
}

// short is a payload for a line on a terminal.
func short(b []byte) string {
	const most = 80
	s := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, string(b))
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
