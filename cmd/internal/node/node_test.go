package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.com/belfry/dispatch/event"
)

// subscribe makes a subscription with an inline profile and HMAC setting.
func subscribe(c *testCluster, tn *testNode, channel, id, url string, events ...string) {
	c.tb.Helper()
	c.must(tn, http.MethodPost, "/subscriptions/1/subscription/"+channel, map[string]any{
		"subscriptionId": id, "events": append([]string{}, events...),
		"profile": map[string]any{
			"profileId": id + "-hook", "webhook": map[string]any{"notifyUrl": url},
			"security": map[string]any{
				"authId": id + "-auth", "type": "HMAC",
				"credentials": map[string]any{"secretKey": "s3cr3t-" + id, "algorithm": "HMAC_SHA_256"},
			},
		},
	})
	// A node matches by the config it has: now each has this.
	for _, other := range c.nodes {
		if !other.stopped {
			c.must(other, http.MethodGet, "/subscriptions/1/subscription/"+channel+"/"+id, nil)
		}
	}
}

func report(id string) map[string]any {
	return map[string]any{"eventId": id, "channel": "SMS", "event": "DELIVERY", "payload": map[string]any{"messageId": id}}
}

// TestNode_endToEnd is the story of the README: a delivery report travels from
// a REST call through a subscription to a webhook, signed.
func TestNode_endToEnd(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	n1 := c.nodes[0]
	h := newHook(t)
	subscribe(c, n1, "SMS", "dlr", h.URL+"/in", "DELIVERY")

	a := c.must(n1, http.MethodPost, "/events/1/events", report("m-1"))
	if a.status != http.StatusAccepted || string(a.body) != `{"events":[{"eventId":"m-1","status":"ACCEPTED","deliveries":1}]}` {
		t.Fatalf("publish: %s", a)
	}
	got := h.next(t)
	if got.path != "/in" || string(got.body) != `{"results":[{"messageId":"m-1"}]}` {
		t.Errorf("the webhook got %s %s", got.path, got.body)
	}
	mac := hmac.New(sha256.New, []byte("s3cr3t-dlr"))
	mac.Write(got.body)
	if sig := got.header.Get("X-Ib-Hmac-Signature"); sig != "SHA256="+hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("X-Ib-Hmac-Signature = %q is not that of the body", sig)
	}
	mac.Reset()
	fmt.Fprintf(mac, "%s.%s.%s", got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp"), got.body)
	if sig := got.header.Get("Webhook-Signature"); sig != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		t.Errorf("webhook-signature = %q is not that of id.timestamp.body", sig)
	}

	var rec event.Record
	c.eventually("the delivery is settled", func() bool {
		a := c.must(n1, http.MethodGet, "/events/1/events/m-1", nil)
		rec = event.Record{}
		if err := json.Unmarshal(a.body, &rec); err != nil {
			t.Fatal(err)
		}
		return len(rec.Deliveries) == 1 && rec.Deliveries[0].Status == event.StatusDelivered && len(rec.Deliveries[0].Attempts) == 1
	})
	d := rec.Deliveries[0]
	if d.ProfileID != "dlr-hook" || len(d.SubscriptionIDs) != 1 || d.SubscriptionIDs[0] != "dlr" || d.NextAttemptAt != nil || d.URL != h.URL+"/in" {
		t.Errorf("delivery = %+v", d)
	}
	if at := d.Attempts[0]; at.Attempt != 1 || at.StatusCode != http.StatusOK || at.NodeID != "n1" || at.Outcome != "ok" {
		t.Errorf("attempt = %+v", at)
	}

	// The same id again is the same event; with another content it is not.
	a = c.must(n1, http.MethodPost, "/events/1/events", report("m-1"))
	if string(a.body) != `{"events":[{"eventId":"m-1","status":"DUPLICATE","deliveries":1}]}` {
		t.Errorf("repeated publish: %s", a)
	}
	other := report("m-1")
	other["payload"] = map[string]any{"messageId": "other"}
	if a := c.do(n1, http.MethodPost, "/events/1/events", other); a.status != http.StatusConflict {
		t.Errorf("the same id with another content: %s, want 409", a)
	}

	// The override skips subscriptions; notify false delivers nothing.
	over := report("m-2")
	over["webhook"] = map[string]any{"url": h.URL + "/override"}
	c.must(n1, http.MethodPost, "/events/1/events", over)
	if got := h.next(t); got.path != "/override" || got.header.Get("Webhook-Id") == "" {
		t.Errorf("override arrived at %s with %v", got.path, got.header)
	}
	silent := report("m-3")
	silent["webhook"] = map[string]any{"notify": false}
	if a := c.must(n1, http.MethodPost, "/events/1/events", silent); !strings.Contains(string(a.body), `"deliveries":0`) {
		t.Errorf("notify false: %s", a)
	}

	// A flat family goes out as it is.
	subscribe(c, n1, "VOICE_VIDEO", "calls", h.URL+"/calls")
	c.must(n1, http.MethodPost, "/events/1/events", map[string]any{
		"channel": "VOICE_VIDEO", "event": "CALL_RECEIVED", "payload": map[string]any{"type": "CALL_RECEIVED", "callId": "c-1"},
	})
	if got := h.next(t); got.path != "/calls" || !strings.HasPrefix(string(got.body), `{"`) || strings.Contains(string(got.body), "results") {
		t.Errorf("the call event arrived as %s %s", got.path, got.body)
	}
	select {
	case extra := <-h.arrived:
		t.Errorf("one arrival too many: %s %s", extra.path, extra.body)
	default:
	}
}

// A delivery that waits for its retry survives the restart of its node.
func TestNode_restart_keepsConfigAndObligations(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	h := newHook(t)
	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")
	c.must(c.nodes[0], http.MethodPut, "/subscriptions/1/profiles/dlr-hook",
		map[string]any{"retry": map[string]any{"policy": "custom", "schedule": []int{1, 1, 1, 1, 1, 1, 1, 1}}})
	h.status <- 503
	h.status <- 503
	c.must(c.nodes[0], http.MethodPost, "/events/1/events", report("m-1"))
	first := h.next(t)
	c.restart(0)
	if a := c.must(c.nodes[0], http.MethodGet, "/subscriptions/1/subscription/SMS/dlr", nil); !strings.Contains(string(a.body), `"profileId":"dlr-hook"`) {
		t.Errorf("after the restart: %s", a)
	}
	for {
		again := h.next(t)
		if again.header.Get("Webhook-Id") != first.header.Get("Webhook-Id") {
			t.Fatalf("webhook-id %q was sent again as %q", first.header.Get("Webhook-Id"), again.header.Get("Webhook-Id"))
		}
		a := c.must(c.nodes[0], http.MethodGet, "/events/1/events/m-1", nil)
		if len(h.status) == 0 && !strings.Contains(string(a.body), `"status":"PENDING"`) {
			break
		}
	}
	c.eventually("the delivery is settled", func() bool {
		return strings.Contains(string(c.must(c.nodes[0], http.MethodGet, "/events/1/events/m-1", nil).body), `"status":"DELIVERED"`)
	})
}

// A node that begins a cluster answers before there is a key it could know; it
// is not ready before.
func TestNode_readyWithItsFirstKey(t *testing.T) {
	t.Parallel()
	if err := new(Node).bootstrapped(t.Context()); !errors.Is(err, errNoAccount) {
		t.Errorf("a node that has not begun: %v", err)
	}
	c := newTestCluster(t, 1)
	a := c.do(c.nodes[0], http.MethodGet, "/readyz?verbose", nil)
	if a.status != http.StatusOK || !strings.Contains(string(a.body), "[+]first account ok") {
		t.Errorf("a node that has: %d %s", a.status, a.body)
	}
}
