package workload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/chaos/history"
)

// nowhere is a target that nothing is asked of.
var nowhere = fakeNodes{{ID: "n1", URL: "http://127.0.0.1:1"}}

func payload(account, producer string, n int64) string {
	return string(history.Event{Account: account, Producer: producer, N: n, Pad: 20}.AppendPayload(nil))
}

// deliver posts a body to a receiver as belfry does.
func deliver(t *testing.T, url, body string, header map[string]string) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := newHTTP(10 * time.Second).Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestSink_recordsWhatArrives(t *testing.T) {
	t.Parallel()
	e, ops := testEnv(t, nowhere)
	s, err := e.newSink(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := e.rec.Now()
	batch := `{"results":[` + strings.Join([]string{
		payload("acct", "p1", 7), payload("acct", "p1", 8), payload("acct", "p2", 0), payload("other", "p2", 1), `{"a":1}`, payload("acct", "p1", 9),
	}, ",") + `]}`
	header := map[string]string{"Webhook-Id": "w-1", "Belfry-Attempt": "3"}
	for _, body := range []string{batch, payload("acct", "p1", 5), "", `{"results":[`} {
		if status, err := deliver(t, s.url("acct", "dest", 4), body, header); err != nil || status != http.StatusOK {
			t.Errorf("answered %d, %v", status, err)
		}
	}
	got := ops()
	if len(got) != 4 {
		t.Fatalf("%d arrivals, want 4", len(got))
	}
	for _, op := range got {
		if op.Kind != history.Arrival || op.Key != "dest" || op.Outcome != history.OK || op.Status != 200 || op.Call <= before || op.Return < op.Call {
			t.Errorf("recorded as %+v", op)
		}
	}
	want := history.Arrived{WebhookID: "w-1", Attempt: 3, Account: "acct", Dest: "dest", URLVersion: 4}
	in := into[history.Arrived](t, got[0].In)
	want.Runs = []history.Run{{Producer: "p1", From: 7, N: 2, Pad: 20}, {Producer: "p2", N: 1, Pad: 20}, {Producer: "p2", From: 1, N: 1, Pad: 20, Account: "other"}, {Producer: "p1", From: 9, N: 1, Pad: 20}}
	if len(in.Strange) != 1 || in.Strange[0].Head != `{"a":1}` {
		t.Errorf("strange: %+v", in.Strange)
	}
	in.Strange = nil
	if d := cmp.Diff(want, in); d != "" {
		t.Errorf("a batch (-want +got):\n%s", d)
	}
	want.Runs = []history.Run{{Producer: "p1", From: 5, N: 1, Pad: 20}}
	if d := cmp.Diff(want, into[history.Arrived](t, got[1].In)); d != "" {
		t.Errorf("one (-want +got):\n%s", d)
	}
	for _, op := range got[2:] {
		if in := into[history.Arrived](t, op.In); len(in.Runs) != 0 || len(in.Strange) != 1 {
			t.Errorf("a body without form: %s", op.In)
		}
	}
}

// A request whose sender was killed in the middle of it holds nothing that
// could be judged, however it ends.
func TestSink_notWhole(t *testing.T) {
	t.Parallel()
	e, ops := testEnv(t, nowhere)
	s, err := e.newSink(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(s.url("acct", "dest", 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", `{"results":[`} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", to.Host)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nX-Ib-Hmac-Signature: SHA256=00\r\nWebhook-Id: w-1\r\n\r\n%s", to.Path, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil { //nolint:forcetypeassert // the network is tcp
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c) // until it was recorded and the connection ends
		_ = c.Close()
	}
	got := ops()
	if len(got) != 2 {
		t.Fatalf("%d arrivals, want 2", len(got))
	}
	want := history.Arrived{WebhookID: "w-1", Account: "acct", Dest: "dest", URLVersion: 1}
	for _, op := range got {
		if op.Outcome != history.Unknown {
			t.Errorf("recorded as %+v", op)
		}
		if d := cmp.Diff(want, into[history.Arrived](t, op.In)); d != "" {
			t.Errorf("not whole (-want +got):\n%s", d)
		}
	}
}

// Every way to answer is what it says, at the client and in the history.
func TestSink_behaviours(t *testing.T) {
	t.Parallel()
	scripts := scripts()
	e, ops := testEnv(t, nowhere)
	s, err := e.newSink(t.Context(), func(a history.Arrived) behaviour { return scripts[a.Dest](a.Attempt) })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		status  int // 0: no answer that is whole
		outcome history.Outcome
		header  string
	}{
		"ok": {200, history.OK, ""}, "accepted": {202, history.OK, ""}, "slow": {200, history.OK, ""},
		"redirect": {302, history.Fail, "Location"}, "redirect-forever": {308, history.Fail, "Location"},
		"missing": {404, history.Fail, ""}, "gone": {410, history.Fail, ""}, "error": {500, history.Fail, ""}, "error-forever": {500, history.Fail, ""},
		"throttled": {429, history.Fail, "Retry-After"}, "throttled-date": {429, history.Fail, "Retry-After"}, "throttled-minus": {429, history.Fail, "Retry-After"},
		"throttled-text": {429, history.Fail, "Retry-After"}, "throttled-years": {429, history.Fail, "Retry-After"},
		"cut": {0, history.Unknown, ""}, "reset": {0, history.Unknown, ""}, "hang": {0, history.Unknown, ""}, "drip": {0, history.Unknown, ""},
		"huge": {200, history.OK, ""}, "bomb": {200, history.OK, "Content-Encoding"},
	}
	for name := range scripts {
		w, known := want[name]
		if !known {
			t.Errorf("nobody says what %s does", name)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if name == "hang" || name == "drip" { // which end with the client's patience
			ctx, cancel = context.WithTimeout(t.Context(), 250*time.Millisecond)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url("acct", name, 0), bytes.NewReader([]byte("{}")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Belfry-Attempt", "1")
		resp, err := newHTTP(time.Minute).Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		cancel()
		switch {
		case w.status == 0 && err == nil:
			t.Errorf("%s: there is a whole answer: %s", name, resp.Status)
		case w.status != 0 && (err != nil || resp.StatusCode != w.status):
			t.Errorf("%s: %v, %v; want %d", name, resp, err, w.status)
		case w.header != "" && resp.Header.Get(w.header) == "":
			t.Errorf("%s: no %s in %v", name, w.header, resp.Header)
		}
	}
	for _, op := range ops() {
		if op.Outcome != want[op.Key].outcome {
			t.Errorf("%s is recorded as %s: %s", op.Key, op.Outcome, op.Error)
		}
		if in := into[history.Arrived](t, op.In); in.Behaviour == "" && op.Key != "ok" {
			t.Errorf("%s: the history does not say that it was on purpose", op.Key)
		}
	}
}

// What gets better after some attempts does.
func TestScripts_getBetter(t *testing.T) {
	t.Parallel()
	for name, s := range scripts() {
		if b := s(1); b.statusOf()/100 == 2 {
			continue
		}
		better := 0
		for attempt := 1; attempt <= hostileAttempts && better == 0; attempt++ {
			if b := s(attempt); b.statusOf() == 200 {
				better = attempt
			}
		}
		hopeless := strings.HasSuffix(name, "-forever") || name == "gone" || name == "throttled-years"
		if (better == 0) != hopeless {
			t.Errorf("%s gets better at attempt %d", name, better)
		}
		if slices.Contains(forever, name) != hopeless {
			t.Errorf("%s is given up at the end: %t, gets better: %t", name, !hopeless, better > 0)
		}
	}
}

func TestKeyring_recognise(t *testing.T) {
	t.Parallel()
	var k keyring
	k.give("d", "d-a1", 1)
	k.give("d", "d-a1", 3)
	k.give("d", "d-a2", 4)
	basic := func(user, password string) http.Header {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header
	}
	custom := func(v string) http.Header { return http.Header{headerCustom: {v}} }
	body := []byte(`{"x":1}`)
	// Both as docs and Standard Webhooks have them, of the secrets of d-a1.
	hmacOf := func(version int, over, standardOver string) http.Header {
		return http.Header{
			"X-Ib-Hmac-Signature": {"SHA256=" + hexMAC(secretOf("d-a1", version), over)}, "Webhook-Id": {"id"}, "Webhook-Timestamp": {"17"},
			"Webhook-Signature": {"v1," + base64MAC(secretOf("d-a1", version), standardOver)},
		}
	}
	for name, tt := range map[string]struct {
		header  http.Header
		kind    string
		version int
	}{
		"none":              {http.Header{}, "", 0},
		"basic":             {basic("d-a1.v2", secretOf("d-a1", 2)), typeBasic, 2},
		"basic, newest":     {basic("d-a2.v4", secretOf("d-a2", 4)), typeBasic, 4},
		"basic, torn":       {basic("d-a1.v2", secretOf("d-a1", 1)), typeBasic, -1},
		"basic, of another": {basic("x-a1.v2", secretOf("x-a1", 2)), typeBasic, -1},
		"basic, not given":  {basic("d-a1.v9", secretOf("d-a1", 9)), typeBasic, -1},
		"custom":            {custom("d-a1.v3." + secretOf("d-a1", 3)), typeCustom, 3},
		"custom, torn":      {custom("d-a1.v3." + secretOf("d-a1", 2)), typeCustom, -1},
		"custom, no form":   {custom("x"), typeCustom, -1},
		"hmac":              {hmacOf(2, `{"x":1}`, `id.17.{"x":1}`), typeHMAC, 2},
		"hmac, other body":  {hmacOf(2, `{"x":2}`, `id.17.{"x":2}`), typeHMAC, -1},
		"hmac, other time":  {hmacOf(2, `{"x":1}`, `id.18.{"x":1}`), typeHMAC, -1},
		"hmac, not given":   {hmacOf(9, `{"x":1}`, `id.17.{"x":1}`), typeHMAC, -1},
	} {
		if kind, version := k.recognise("d", tt.header, body); kind != tt.kind || version != tt.version {
			t.Errorf("%s: %s version %d, want %s version %d", name, kind, version, tt.kind, tt.version)
		}
	}
	if kind, version := k.recognise("e", basic("d-a1.v2", secretOf("d-a1", 2)), body); kind != typeBasic || version != -1 {
		t.Errorf("at another destination: %s version %d", kind, version)
	}
}
