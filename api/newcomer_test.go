package api

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/fsm/model"
)

// lagging is a harness whose node lacks what was made last on another one:
// Linearize brings it.
func lagging(t *testing.T) (h *harness, key, session, bearer string) {
	t.Helper()
	h = userHarness(t)
	session = "IBSSO " + h.tokens.issue(tokenSession, "user:ana", must(h.config.User("ana")).CreatedIndex, time.Hour)
	id, _ := HashKey(keyRead)
	row := must(h.config.Key(id))
	bearer = "Bearer " + h.tokens.issue(tokenBearer, "key:"+id, row.CreatedIndex, time.Hour)
	ana := must(h.config.User("ana"))
	delete(h.config.keys, id)
	delete(h.config.users, "ana")
	h.cluster.catchUp = func() {
		h.config.mu.Lock()
		defer h.config.mu.Unlock()
		h.config.keys[id], h.config.users["ana"] = row, ana
	}
	return h, "App " + keyRead, session, bearer
}

// show asks who the credentials belong to, which needs no current state.
func (h *harness) show(t *testing.T, authorization string, status int) {
	t.Helper()
	scenario{method: "GET", url: sessionPath, header: map[string]string{"Authorization": authorization}, status: status}.on(t, h)
}

// TestNewcomer_madeElsewhere: credentials that another node made work at once.
func TestNewcomer_madeElsewhere(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"key", "session", "bearer"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h, key, session, bearer := lagging(t)
			with := map[string]string{"key": key, "session": session, "bearer": bearer}[kind]
			for range 3 {
				h.show(t, with, 200)
			}
			if n := h.cluster.linearized; n != 1 {
				t.Errorf("asked the leader %d times, want once", n)
			}
		})
	}
	t.Run("client credentials", func(t *testing.T) {
		t.Parallel()
		h, _, _, _ := lagging(t)
		id, _ := HashKey(keyRead)
		h.askToken(t, "grant_type=client_credentials&client_id="+id+"&client_secret="+keyRead, 200, nil)
	})
}

// TestNewcomer_notAsked: what is known, or cannot be anybody's, asks nobody.
func TestNewcomer_notAsked(t *testing.T) {
	t.Parallel()
	h := userHarness(t)
	for name, authorization := range map[string]string{
		"disabled": "App " + keyOff, "expired": "App " + keyExpired, "from elsewhere": "App " + keyElse,
		"wrong password": basicOf("ana", "wrong"), "unknown user": basicOf("ben", "wrong"),
		"forged token": "Bearer " + newTokenSigner(make([]byte, minTokenKey), h.o.Now).issue(tokenBearer, "key:k", 1, time.Hour),
	} {
		h.show(t, authorization, 401)
		if n := h.cluster.linearized; n != 0 {
			t.Fatalf("%s: asked the leader %d times", name, n)
		}
	}
	h.show(t, "App "+keyRead, 200)
	if n := h.cluster.linearized; n != 0 {
		t.Errorf("a known key asked the leader %d times", n)
	}
}

// TestNewcomer_limits: INV api-10, invented keys ask the leader nodeLooks times
// a second, the same one once.
func TestNewcomer_limits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	asked := func(want int) {
		t.Helper()
		if n := h.cluster.linearized; n != want {
			t.Fatalf("asked the leader %d times, want %d", n, want)
		}
	}
	for range 3 {
		h.show(t, "App the-same-invented-key", 401)
	}
	asked(1)
	h.advance(time.Second)
	h.show(t, "App the-same-invented-key", 401)
	asked(2)
	h.advance(time.Second)
	for i := range nodeLooks {
		h.show(t, fmt.Sprintf("App invented-key-number-%d", i), 401)
	}
	asked(2 + nodeLooks)
	h.show(t, "App one-above-the-limit", 401)
	asked(2 + nodeLooks)
	h.advance(time.Second / nodeLooks)
	h.show(t, "App the-next-one", 401)
	h.show(t, "App and-one-more", 401)
	asked(3 + nodeLooks)
	h.show(t, "App "+keyRead, 200)
}

// silent is a cluster in which nobody answers.
type silent struct{ *fakeCluster }

func (silent) Linearize(ctx context.Context) error {
	<-ctx.Done()
	return model.Errorf(model.CodeUnavailable, "no quorum").WithCause(ctx.Err())
}

// TestNewcomer_noQuorum: without a quorum what is known works, and of what is
// not this node says soon that it cannot tell: it may have been made elsewhere.
// What it does not ask about it refuses.
func TestNewcomer_noQuorum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(o *Options) { o.Cluster = silent{&fakeCluster{}} })
		begin := time.Now()
		h.show(t, "App "+keyRead, 200)
		if took := time.Since(begin); took != 0 {
			t.Errorf("a known key took %s", took)
		}
		h.show(t, "App an-invented-key", 503)
		if took := time.Since(begin); took != lookTimeout {
			t.Errorf("an unknown key took %s, want %s", took, lookTimeout)
		}
		h.show(t, "App an-invented-key", 401)
		if took := time.Since(begin); took != lookTimeout {
			t.Errorf("the same one again took %s, want nothing", took-lookTimeout)
		}
	})
}
