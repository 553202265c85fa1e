package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// The filter reaches the watcher; each batch becomes its entries, with drops
// and changes of the unreachable nodes before them.
func TestTail_form(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t)
	e2 := event.TailEntry{
		Kind: event.TailAttempt, At: time.Unix(1, 0).UTC(), NodeID: "n2", EventID: "e\n2", Channel: "SMS", Name: "CLICK", DeliveryID: "d", ProfileID: "p", SubscriptionIDs: []string{"s"},
		Status: event.StatusDelivered, Attempt: &event.Attempt{Attempt: 1, At: time.Unix(1, 0).UTC(), Outcome: "ok", NodeID: "n2", StatusCode: 200},
	}
	watcher.tail = func(_ context.Context, send func(event.TailBatch) error) error {
		return errors.Join(
			send(event.TailBatch{}),
			send(event.TailBatch{Entries: []event.TailEntry{tailEntry("e1"), e2}, Unreachable: []string{"n3", "n2"}}),
			send(event.TailBatch{Dropped: 7, Unreachable: []string{"n2", "n3"}}),
			send(event.TailBatch{Unreachable: []string{"n2", "n3"}}),
			send(event.TailBatch{}),
		)
	}
	const query = "?kind=attempt&channel=SMS&event=CLICK&resource=r&applicationId=a&entityId=e&user=u&orderingKey=k&profileId=p&subscriptionId=s&status=DELIVERED"
	const want = ": keep-alive\n\n" + ": keep-alive\n\n" +
		"event: nodes\ndata: {\"unreachableNodes\":[\"n2\",\"n3\"]}\n\n" +
		"event: accepted\ndata: {\"kind\":\"accepted\",\"at\":\"1970-01-01T00:00:00Z\",\"nodeId\":\"n1\",\"eventId\":\"e1\",\"channel\":\"SMS\",\"event\":\"DELIVERY\",\"deliveries\":2}\n\n" +
		"event: attempt\ndata: {\"kind\":\"attempt\",\"at\":\"1970-01-01T00:00:01Z\",\"nodeId\":\"n2\",\"eventId\":\"e\\n2\",\"channel\":\"SMS\",\"event\":\"CLICK\",\"deliveryId\":\"d\",\"profileId\":\"p\",\"subscriptionIds\":[\"s\"]," +
		"\"status\":\"DELIVERED\",\"attempt\":{\"attempt\":1,\"at\":\"1970-01-01T00:00:01Z\",\"durationMs\":0,\"statusCode\":200,\"outcome\":\"ok\",\"nodeId\":\"n2\"}}\n\n" +
		"event: dropped\ndata: {\"dropped\":7}\n\n" +
		": keep-alive\n\n" +
		"event: nodes\ndata: {\"unreachableNodes\":[]}\n\n"
	body := scenario{method: "GET", url: tailPath + query, key: keyFull, status: 200, headers: map[string]string{
		"Content-Type": typeEventStream, "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Length": "",
	}}.on(t, h)
	if d := cmp.Diff(want, body); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	filter := event.TailFilter{Kind: event.TailAttempt, Channel: "SMS", Name: "CLICK", Resource: "r", ApplicationID: "a", EntityID: "e", User: "u", OrderingKey: "k", ProfileID: "p", SubscriptionID: "s", Status: event.StatusDelivered}
	if d := cmp.Diff(filter, watcher.filter); d != "" || watcher.account != accAcme {
		t.Errorf("%s asks for (-want +got):\n%s", watcher.account, d)
	}
	for query, want := range map[string]string{
		"kind=": "kind", "kind=dead": "kind", "status=x": "status", "channel=NOPE": "channel", "channel=SMS&event=SEEN": "event", "event=NOPE": "event", "profileId=": "profileId", "limit=1": "limit", "from=2026-11-23T10:00:00Z": "from",
	} {
		if _, at := refusal(t, h.must(t, "GET", tailPath+"?"+query, keyFull, "", 400)); len(at) != 1 || at["/"+want] == "" {
			t.Errorf("%s names %v", query, at)
		}
	}
	newHarness(t).must(t, "GET", tailPath, keyFull, "", 503)
}

// What fails in the watcher after the stream began is logged, and nothing of
// it is sent.
func TestTail_watcherFails(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t)
	watcher.fail = errors.New("of the watcher " + canary)
	if body := h.must(t, "GET", tailPath, keyFull, "", 200); body != ": keep-alive\n\n" {
		t.Errorf("the stream is %q", body)
	}
	if !strings.Contains(h.log.String(), "of the watcher") {
		t.Error("the error is not in the log")
	}
}

// pipeTail opens a tail over a connection of its own, through the server as it
// listens, inside a bubble of virtual time.
type pipeTail struct {
	client net.Conn
	lines  *bufio.Reader
	srv    *http.Server
	done   chan error
}

func openTail(t *testing.T, h *harness) *pipeTail {
	t.Helper()
	server, client := net.Pipe()
	p := &pipeTail{client: client, lines: bufio.NewReader(client), srv: h.HTTPServer(""), done: make(chan error, 1)}
	go func() { p.done <- p.srv.Serve(&oneConn{c: server, closed: make(chan struct{})}) }()
	if _, err := io.WriteString(client, "GET "+tailPath+" HTTP/1.1\r\nHost: x\r\nAuthorization: App "+keyFull+"\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return p
}

// close ends the server and the client's side.
func (p *pipeTail) close(t *testing.T) {
	t.Helper()
	_ = p.client.Close()
	if err := p.srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-p.done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// until reads lines up to one that holds text.
func (p *pipeTail) until(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for %q: %v", text, err)
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

// heartbeats is a watcher that sends an empty batch each TailHeartbeat; ended
// takes what came of it.
func heartbeats(ended chan<- error) func(context.Context, func(event.TailBatch) error) error {
	return func(ctx context.Context, send func(event.TailBatch) error) (err error) {
		defer func() { ended <- err }()
		tick := time.NewTicker(TailHeartbeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				if err := send(event.TailBatch{}); err != nil {
					return err
				}
			}
		}
	}
}

// tailBubble runs test over a harness in virtual time with one open tail whose
// headers have come.
func tailBubble(t *testing.T, test func(t *testing.T, h *harness, p *pipeTail, ended <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		h, _, watcher := watchHarness(t, func(o *Options) { o.Now = nil })
		watcher.tail = heartbeats(ended)
		p := openTail(t, h)
		p.until(t, "keep-alive")
		test(t, h, p, ended)
		p.close(t)
	})
}

// A tail outlives the timeouts of the server that end other requests, and ends
// when its client goes.
func TestTail_lastsAndEndsWithItsClient(t *testing.T) {
	t.Parallel()
	tailBubble(t, func(t *testing.T, h *harness, p *pipeTail, ended <-chan error) {
		t.Helper()
		start := time.Now()
		for time.Since(start) < 3*h.o.Limits.SendTimeout {
			p.until(t, "keep-alive")
		}
		synctest.Wait() // the batch is through
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		if err := <-ended; err != nil || time.Since(start) > 0 {
			t.Errorf("the tail ended with %v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if got := h.log.String(); !strings.Contains(got, "path="+tailPath+" status=200") {
			t.Errorf("the access log has\n%s", got)
		}
	})
}

// A reader that does not read is cut off after streamPatience.
func TestTail_slowReader(t *testing.T) {
	t.Parallel()
	tailBubble(t, func(t *testing.T, _ *harness, _ *pipeTail, ended <-chan error) {
		t.Helper()
		start := time.Now()
		err := <-ended
		if took := time.Since(start); err == nil || took != TailHeartbeat+streamPatience {
			t.Errorf("cut off with %v after %v, want %v", err, took, TailHeartbeat+streamPatience)
		}
	})
}

// Draining ends open tails at once, so that a shutdown need not wait, and
// refuses new ones until it is taken back.
func TestTail_draining(t *testing.T) {
	t.Parallel()
	tailBubble(t, func(t *testing.T, h *harness, p *pipeTail, ended <-chan error) {
		t.Helper()
		start := time.Now()
		h.SetDraining(true)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(p.lines); err != nil || !strings.HasSuffix(string(rest), "0\r\n\r\n") {
			t.Errorf("the stream ends with %q, %v", rest, err)
		}
		if err := p.srv.Shutdown(t.Context()); err != nil || time.Since(start) > time.Second {
			t.Errorf("the shutdown took %v: %v", time.Since(start), err)
		}
		scenario{method: "GET", url: tailPath, key: keyFull, status: 503, has: []string{"being drained"}}.on(t, h)
		h.SetDraining(false)
		h.must(t, "HEAD", tailPath, keyFull, "", 200)
	})
}

// INV api-9: a tail ends within tailRecheck of the end of its caller's rights,
// for each way in which they can end.
func TestTail_callerLosesRights(t *testing.T) {
	t.Parallel()
	id, _ := HashKey(keyFull)
	by := model.Actor{Name: "system"}
	for name, change := range map[string]func(ctx context.Context, h *harness) error{
		"disabled": func(ctx context.Context, h *harness) error {
			_, err := h.config.UpdateKey(ctx, by, accAcme, id, model.KeyPatch{Disabled: model.Some(true)})
			return err
		},
		"expired": func(ctx context.Context, h *harness) error {
			_, err := h.config.UpdateKey(ctx, by, accAcme, id, model.KeyPatch{ExpiresMs: model.Some(time.Now().Add(time.Second).UnixMilli())})
			return err
		},
		"deleted": func(ctx context.Context, h *harness) error { return h.config.DeleteKey(ctx, by, accAcme, id) },
		"lost its scope": func(ctx context.Context, h *harness) error {
			_, err := h.config.UpdateKey(ctx, by, accAcme, id, model.KeyPatch{Scopes: model.Some([]model.Scope{model.ScopeEventsWrite})})
			return err
		},
		"account disabled": func(ctx context.Context, h *harness) error {
			_, err := h.config.UpdateAccount(ctx, by, accAcme, model.AccountPatch{Disabled: model.Some(true)})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tailBubble(t, func(t *testing.T, h *harness, p *pipeTail, ended <-chan error) {
				t.Helper()
				for range 5 {
					p.until(t, "keep-alive")
				}
				if err := change(t.Context(), h); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if _, err := io.ReadAll(p.lines); err != nil {
					t.Error(err)
				}
				if err := <-ended; err != nil || time.Since(start) > tailRecheck {
					t.Errorf("the tail ended with %v after %v, want at most %v", err, time.Since(start), tailRecheck)
				}
			})
		})
	}
}

// An account and a node have so many tails at a time; a tail that ends makes
// room.
func TestTail_limits(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t, func(o *Options) { o.Limits.AccountTails, o.Limits.Tails = 2, 3 })
	h.addKey(t, "key-of-the-other-account", model.Key{Account: accOther, Scopes: []model.Scope{model.ScopeEventsRead}})
	begun := make(chan struct{})
	watcher.tail = func(ctx context.Context, _ func(event.TailBatch) error) error {
		begun <- struct{}{}
		<-ctx.Done()
		return nil
	}
	var open sync.WaitGroup
	start := func(key string) {
		open.Go(func() { h.do(t, scenario{method: "GET", url: tailPath, key: key}) })
		<-begun
	}
	start(keyFull)
	start(keyFull)
	scenario{method: "GET", url: tailPath, key: keyFull, status: 429, has: []string{"the account has 2 live tails"}, headers: map[string]string{"Retry-After": "1"}}.on(t, h)
	start("key-of-the-other-account")
	scenario{method: "GET", url: tailPath, key: "key-of-the-other-account", status: 429, has: []string{"this node has 3 live tails"}}.on(t, h)
	h.SetDraining(true)
	open.Wait()
	h.SetDraining(false)
	if len(h.tails.open) > 0 || len(h.tails.accounts) > 0 {
		t.Errorf("%d tails, %d accounts are left", len(h.tails.open), len(h.tails.accounts))
	}
	start(keyFull)
	h.SetDraining(true)
	open.Wait()
	l := Limits{}
	if l.fill(); l.AccountTails != 16 || l.Tails != 256 || l.TestEvents != 60 {
		t.Errorf("defaults %+v", l)
	}
}

// HEAD answers as GET does, without a body, on every route that GET has.
func TestHead(t *testing.T) {
	t.Parallel()
	h := sampleHarness(t)
	h.addKey(t, keyEverything, model.Key{Account: accAcme, Scopes: model.AllScopes()})
	for k, s := range samples() {
		method, _, _ := strings.Cut(k, " ")
		if method != http.MethodGet {
			continue
		}
		head := h.do(t, scenario{method: "HEAD", url: s.url, key: keyEverything})
		get := h.do(t, scenario{method: "GET", url: s.url, key: keyEverything})
		if head.Code != s.status || head.Header().Get("Content-Type") != get.Header().Get("Content-Type") {
			t.Errorf("HEAD %s: %d %s, GET has %d %s", s.url, head.Code, head.Header().Get("Content-Type"), get.Code, get.Header().Get("Content-Type"))
		}
		if n := head.Header().Get("Content-Length"); s.url != "/metrics" && n != get.Header().Get("Content-Length") {
			t.Errorf("HEAD %s: Content-Length %s, GET has %s", s.url, n, get.Header().Get("Content-Length"))
		}
	}
	h.must(t, "HEAD", profiles, "", "", 401)
	h.must(t, "HEAD", profiles+"/none", keyManage, "", 404)
	h.must(t, "HEAD", matchPath, keyFull, "", 405)
}
