package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// At most as many passwords as the queue holds are worked on or wait; one more
// is told to come again.
func TestPasswords_queue(t *testing.T) {
	t.Parallel()
	h := userHarness(t)
	for range passwordQueue {
		h.auth.passwords.queue <- struct{}{}
	}
	body := `{"username":"ana","password":"` + password + `"}`
	scenario{method: "POST", url: sessionPath, body: body, status: 429, headers: map[string]string{"Retry-After": "1"}}.on(t, h)
	h.must(t, "POST", acmeUsers, keyFull, `{"username":"u","password":"`+password+`","scopes":[]}`, 429)
	h.must(t, "PUT", acmeUsers+"/ana", keyFull, `{"password":"`+password+`"}`, 429)
	<-h.auth.passwords.queue
	h.must(t, "POST", sessionPath, "", body, 200)
}

// Who waits for a turn goes when the request ends.
func TestPasswords_turn(t *testing.T) {
	t.Parallel()
	h := userHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range cap(h.auth.passwords.slots) {
		h.auth.passwords.slots <- struct{}{}
	}
	if _, err := h.auth.checkPassword(ctx, "ana", password); model.CodeOf(err) != model.CodeUnavailable {
		t.Errorf("without a turn: %v", err)
	}
	if n := len(h.auth.passwords.queue); n > 0 {
		t.Errorf("%d still wait", n)
	}
	<-h.auth.passwords.slots
	if _, err := h.auth.checkPassword(t.Context(), "ana", password); err != nil {
		t.Error(err)
	}
}

// Remembered passwords are bounded, and each is forgotten after its time.
func TestPasswords_remembered(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	c, err := newPasswordChecker(1, func() time.Time { return now }, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range passwordCacheSize + 1 {
		c.remember(c.cacheKey(jsonf("%d", i)))
		if n := len(c.seen); n > passwordCacheSize {
			t.Fatalf("%d are remembered, the limit is %d", n, passwordCacheSize)
		}
	}
	last := c.cacheKey(jsonf("%d", passwordCacheSize))
	now = now.Add(passwordCacheTTL - 1)
	if !c.remembered(last) || c.remembered(c.cacheKey("0")) {
		t.Error("the last must be remembered and the first not")
	}
	if now = now.Add(1); c.remembered(last) {
		t.Error("the last is never forgotten")
	}
	if c.cacheKey("a", "bc") == c.cacheKey("ab", "c") {
		t.Error("parts of a key run into each other")
	}
	if _, err := newPasswordChecker(0, time.Now, nil); err == nil {
		t.Error("a checker without a turn is made")
	}
}

// A stored hash that is none, or that asks for too much work, is an error and
// never right.
func TestVerifyPassword(t *testing.T) {
	t.Parallel()
	good := sampleHash()
	if ok, err := verifyPassword(good, password); !ok || err != nil {
		t.Fatalf("the right password: %t, %v", ok, err)
	}
	if ok, err := verifyPassword(good, password+"x"); ok || err != nil {
		t.Errorf("a wrong password: %t, %v", ok, err)
	}
	for _, c := range [][2]string{
		{"argon2id", "argon2i"}, {"v=19", "v=18"}, {"m=19456", "m=262145"}, {"m=19456", "m=0"}, {"t=2", "t=17"}, {"t=2", "t=0"}, {"p=1", "p=0"}, {"p=1", "p=x"}, {"$m", "$$m"}, {good[len(good)-30:], ""},
	} {
		if bad := strings.Replace(good, c[0], c[1], 1); bad == good {
			t.Errorf("%s is not in the hash", c[0])
		} else if ok, err := verifyPassword(bad, password); ok || err == nil {
			t.Errorf("%s for %s: %t, %v", c[1], c[0], ok, err)
		}
	}
}
