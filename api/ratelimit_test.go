package api

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// One caller may make KeyRequests a second, on all surfaces together.
func TestRate_perCaller(t *testing.T) {
	t.Parallel()
	h := contractHarness(t, func(o *Options) { o.Limits.KeyRequests = 20 })
	h.advance(time.Second)
	for range 10 {
		h.must(t, "GET", profiles, keyRead, "", 200)
		h.must(t, "GET", accountsPath+"/acme", keyRead, "", 200)
	}
	scenario{method: "GET", url: profiles, key: keyRead, status: 429, headers: map[string]string{"Retry-After": "1"}}.on(t, h)
	scenario{method: "GET", url: accountsPath + "/acme", key: keyRead, status: 429, headers: map[string]string{"Retry-After": "1"}}.on(t, h)
	h.must(t, "GET", profiles, keyManage, "", 200)
	h.advance(50 * time.Millisecond)
	h.must(t, "GET", profiles, keyRead, "", 200)
	h.must(t, "GET", profiles, keyRead, "", 429)
}

// The number of buckets is bounded; a caller that keeps coming keeps its own.
func TestBuckets_bounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	b := newBuckets(1, 2, 10, func() time.Time { return now })
	for i := range 1000 {
		b.take(fmt.Sprint(i))
		if i%3 == 0 {
			b.take("steady")
		}
		if b.size() > 10 {
			t.Fatalf("%d buckets, the limit is 10", b.size())
		}
	}
	if b.take("steady") == 0 {
		t.Error("a caller that keeps coming got a new bucket")
	}
}

// Ten wrong passwords for one name from one network, a hundred for all names,
// in five minutes; the right one waits too.
func TestLogins_limits(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	l := Limits{}
	l.fill()
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2:3") // one /64
	g := newLoginGuard(l, func() time.Time { return now })
	for i := range 10 {
		if wait := g.allow(a, "ana"); wait > 0 {
			t.Fatalf("failure %d must wait %v", i, wait)
		}
		g.failed(a, "ana")
		now = now.Add(time.Second)
	}
	if wait := g.allow(b, "ana"); wait != 5*time.Minute-10*time.Second {
		t.Errorf("after 10 failures: %v", wait)
	}
	if g.allow(a, "ben") > 0 || g.allow(netip.MustParseAddr("2001:db8:0:1::1"), "ana") > 0 {
		t.Error("another name or another network must wait")
	}
	for i := range 90 {
		if g.allow(a, "ben") > 0 {
			t.Fatalf("failure %d of the network must wait", i)
		}
		g.failed(a, fmt.Sprint("user-", i))
	}
	if g.allow(a, "ben") == 0 {
		t.Error("100 failures of one network for many names are not limited")
	}
	now = now.Add(5 * time.Minute)
	if g.allow(a, "ana") > 0 || g.allow(a, "ben") > 0 {
		t.Error("the window does not end")
	}
}

func TestLogins_bounded(t *testing.T) {
	t.Parallel()
	l := Limits{RateBuckets: 10}
	l.fill()
	g := newLoginGuard(l, time.Now)
	for i := range 500 {
		g.failed(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "ana")
		if g.size() > 10 {
			t.Fatalf("%d counts, the limit is 10", g.size())
		}
	}
}

// The guard is in front of both ways in.
func TestLogins_guardSessionAndBasic(t *testing.T) {
	t.Parallel()
	h := sampleHarness(t)
	const session, right = "/auth/1/session", `{"username":"ana","password":"` + canary + `-password"}`
	h.must(t, "POST", session, "", right, 200)
	for range 10 {
		h.logins.failed(netip.MustParseAddr("192.0.2.1"), "ana")
	}
	scenario{method: "POST", url: session, body: right, status: 429, headers: map[string]string{"Retry-After": "300"}}.on(t, h)
	scenario{method: "GET", url: profiles, status: 429, header: map[string]string{"Authorization": "Basic YW5hOng="}, headers: map[string]string{"Retry-After": "300"}}.on(t, h)
	h.advance(5 * time.Minute)
	h.must(t, "POST", session, "", right, 200)
}
