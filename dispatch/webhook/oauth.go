package webhook

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"example.com/belfry/fsm/model"
)

const (
	// tokenTimeout bounds one token request, which serves many attempts.
	tokenTimeout = 30 * time.Second
	// maxTokenBody bounds its answer.
	maxTokenBody = 64 << 10
	// defaultTokenLife is for answers without expires_in, maxTokenLife for
	// those that promise too much.
	defaultTokenLife = 5 * time.Minute
	maxTokenLife     = 24 * time.Hour
	// tokenShare is how much of its life a token is used without looking for
	// another.
	tokenShare = 0.8
	// After a failure no token is asked for during a wait that doubles from
	// the first to the last of these.
	minTokenBackoff = time.Second
	maxTokenBackoff = 30 * time.Second
)

// tokenKey names a security setting by its content, so that a changed setting
// is another one and profiles that share a setting share its token.
type tokenKey [sha256.Size]byte

func keyOf(account string, a *Auth) tokenKey {
	h := sha256.New()
	add := func(fields ...string) {
		for _, f := range fields {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
			h.Write([]byte(f))
		}
	}
	add(account, a.TokenURL, a.GrantType, a.ClientID, a.Scope, a.Resource, a.Username,
		a.Password.Reveal(), a.ClientSecret.Reveal(), a.RefreshToken.Reveal())
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		add(name, a.Headers[name].Reveal())
	}
	return tokenKey(h.Sum(nil))
}

// issued is an access token as an attempt uses it.
type issued struct {
	key    tokenKey
	number uint64
	access model.Secret
}

// grant is what is known of one setting. tokens.mu guards it.
type grant struct {
	issued
	at      time.Time // monotonic
	life    time.Duration
	refresh model.Secret // replaces the configured one

	failure  *failure // of the last request, nil when it succeeded
	failures int
	retryAt  time.Time
}

// usable reports whether the token can still be sent, and whether it is young
// enough not to look for another.
func (g *grant) usable(now time.Time) (usable, young bool) {
	if g.access.IsZero() {
		return false, false
	}
	age := now.Sub(g.at)
	return age < g.life, age < time.Duration(float64(g.life)*tokenShare)
}

// tokens keeps access tokens in memory, and nowhere else.
//
// INV webhook-10: a token is used for the account and the setting it was issued
// for, and is asked for once at a time.
type tokens struct {
	s      *Sender
	max    int
	flight singleflight.Group

	mu     sync.Mutex
	number uint64
	items  map[tokenKey]*list.Element // of *grant
	order  *list.List                 // front: used last
}

func newTokens(s *Sender, most int) *tokens {
	return &tokens{s: s, max: most, items: map[tokenKey]*list.Element{}, order: list.New()}
}

// get returns a token, from memory or from the endpoint.
func (t *tokens) get(ctx context.Context, d *Destination) (issued, *failure) {
	if f := checkOAuth(d.Auth); f != nil {
		return issued{}, f
	}
	key := keyOf(d.Account, d.Auth)
	if is, f, known := t.known(key, time.Now()); known {
		return is, f
	}
	type landed struct {
		is issued
		f  *failure
	}
	ch := t.flight.DoChan(string(key[:]), func() (any, error) {
		// Another flight may have landed just before.
		if is, f, known := t.known(key, time.Now()); known {
			return landed{is, f}, nil
		}
		is, f := t.fetch(key, d)
		return landed{is, f}, nil
	})
	select {
	case r := <-ch:
		l := r.Val.(landed)
		return l.is, l.f
	case <-ctx.Done():
		return issued{}, failed(ClassAuth, "token request: %s", describe(ctx, ctx.Err(), waiting).text)
	}
}

// known answers from memory; known is false where the endpoint must be asked.
func (t *tokens) known(key tokenKey, now time.Time) (is issued, f *failure, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.grant(key)
	usable, young := g.usable(now)
	switch {
	case young:
		return g.issued, nil, true
	case now.Before(g.retryAt) && usable:
		return g.issued, nil, true // the endpoint is out of order; the token is not
	case now.Before(g.retryAt):
		return issued{}, g.failure, true
	}
	return issued{}, nil, false
}

// grant finds or makes the record of a setting. The caller holds mu.
func (t *tokens) grant(key tokenKey) *grant {
	if e, ok := t.items[key]; ok {
		t.order.MoveToFront(e)
		return e.Value.(*grant)
	}
	g := &grant{}
	t.items[key] = t.order.PushFront(g)
	g.key = key
	if t.order.Len() > t.max {
		old := t.order.Remove(t.order.Back()).(*grant)
		delete(t.items, old.key)
	}
	return g
}

// drop forgets a token that a webhook has refused, unless there is a newer one.
func (t *tokens) drop(is issued) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.grant(is.key); g.number == is.number {
		g.access = model.Secret{}
	}
}

func checkOAuth(a *Auth) *failure {
	missing := func(what string) *failure { return failed(ClassAuth, "the security setting lacks its %s", what) }
	switch a.GrantType {
	case model.GrantClientCredentials:
	case model.GrantPassword:
		if a.Username == "" || a.Password.IsZero() {
			return missing("user name or password")
		}
	case model.GrantRefreshToken:
		if a.RefreshToken.IsZero() {
			return missing("refresh token")
		}
	default:
		return failed(ClassAuth, "the grant type of the security setting is unknown to this version")
	}
	if a.TokenURL == "" {
		return missing("token URL")
	}
	return nil
}

// fetch asks the endpoint and records what came of it. It runs for all
// attempts that wait, so none of their contexts ends it.
func (t *tokens) fetch(key tokenKey, d *Destination) (issued, *failure) {
	ctx, cancel := context.WithTimeoutCause(t.s.life, tokenTimeout, errTooLong)
	defer cancel()
	t.mu.Lock()
	refresh := t.grant(key).refresh
	t.mu.Unlock()
	if refresh.IsZero() {
		refresh = d.Auth.RefreshToken
	}
	reply, outcome, f := t.request(ctx, d, refresh)
	t.s.metrics.tokenRequests.WithLabelValues(outcome).Inc()

	if f != nil {
		is, err := t.failed(key, f)
		if err == nil {
			t.s.log.Warn("an access token could not be renewed and is used until it expires",
				"account", d.Account, "profile", d.ProfileID, "error", f.text)
		}
		return is, err
	}
	rotated := d.Auth.GrantType == model.GrantRefreshToken && !reply.refresh.IsZero() && reply.refresh != refresh
	if !rotated {
		reply.refresh = model.Secret{}
	}
	is := t.granted(key, reply)
	switch hook := t.s.opts.OnRefreshToken; {
	case rotated && hook != nil:
		t.s.spawn(func() { hook(d.Account, d.ProfileID, reply.refresh) })
	case rotated:
		t.s.log.Warn("a token endpoint replaced a refresh token; the new one is lost when this node stops",
			"account", d.Account, "profile", d.ProfileID)
	}
	return is, nil
}

// failed records a failure, and returns the token that is there if it still
// counts.
func (t *tokens) failed(key tokenKey, f *failure) (issued, *failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, now := t.grant(key), time.Now()
	g.failure = failed(ClassAuth, "token request: %s", f.text)
	g.retryAt = now.Add(min(minTokenBackoff<<min(g.failures, 10), maxTokenBackoff))
	g.failures++
	if usable, _ := g.usable(now); usable {
		return g.issued, nil
	}
	return issued{}, g.failure
}

// granted records a token, and the refresh token that replaces the one used.
func (t *tokens) granted(key tokenKey, r tokenReply) issued {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.grant(key)
	t.number++
	g.number, g.access, g.at, g.life = t.number, r.access, time.Now(), r.life
	g.failure, g.failures, g.retryAt = nil, 0, time.Time{}
	if !r.refresh.IsZero() {
		g.refresh = r.refresh
	}
	return g.issued
}

// tokenReply is a successful answer.
type tokenReply struct {
	access, refresh model.Secret
	life            time.Duration
}

// request makes the token request, through the same guard as everything else.
func (t *tokens) request(ctx context.Context, d *Destination, refresh model.Secret) (tokenReply, string, *failure) {
	a := d.Auth
	u, f := t.s.target(a.TokenURL)
	if f != nil {
		return tokenReply{}, tokenBlocked, f
	}
	h := http.Header{"Accept": {"application/json"}, "User-Agent": {t.s.opts.UserAgent}}
	for name, value := range a.Headers {
		if !validHeader(name, value.Reveal()) {
			return tokenReply{}, tokenFailed, failed(ClassAuth, "a header of the security setting cannot be sent")
		}
		if canonical := http.CanonicalHeaderKey(name); !isReserved(canonical) {
			h[canonical] = []string{value.Reveal()}
		}
	}
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	form := url.Values{"grant_type": {a.GrantType}}
	for name, value := range map[string]string{
		"client_id": a.ClientID, "client_secret": a.ClientSecret.Reveal(), "scope": a.Scope, "resource": a.Resource,
		"username": a.Username, "password": a.Password.Reveal(), "refresh_token": refresh.Reveal(),
	} {
		if value != "" {
			form.Set(name, value)
		}
	}
	rt := t.s.transports.get(transportKey{connect: connectTimeout(d)}, nil)
	got, f := t.s.exchange(ctx, rt, &outgoing{
		url: u, header: h, body: []byte(form.Encode()), gap: readTimeout(d), limit: maxTokenBody + 1, decides: true,
	})
	switch {
	case f != nil && f.class == ClassBlocked:
		return tokenReply{}, tokenBlocked, f
	case f != nil:
		return tokenReply{}, tokenFailed, f
	}
	reply, f := parseToken(got)
	if f != nil {
		return tokenReply{}, tokenRefused, f
	}
	return reply, tokenOK, nil
}

// tokenErrors are the codes of RFC 6749, section 5.2, and RFC 8707, section 2. Nothing else of an error
// answer is repeated: it might hold what was sent.
var tokenErrors = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"}

func parseToken(a answer) (tokenReply, *failure) {
	if a.status < 200 || a.status > 299 {
		var e struct {
			Error string `json:"error"`
		}
		text := "the token endpoint answered " + strconv.Itoa(a.status)
		if len(a.body) <= maxTokenBody && json.Unmarshal(a.body, &e) == nil && slices.Contains(tokenErrors, e.Error) {
			text += " (" + e.Error + ")"
		}
		return tokenReply{}, failed(ClassAuth, "%s", text)
	}
	if a.broken != nil {
		return tokenReply{}, a.broken
	}
	if len(a.body) > maxTokenBody {
		return tokenReply{}, failed(ClassAuth, "the answer of the token endpoint exceeds %d KiB", maxTokenBody>>10)
	}
	var r struct {
		AccessToken  string          `json:"access_token"`
		TokenType    string          `json:"token_type"`
		RefreshToken string          `json:"refresh_token"`
		ExpiresIn    json.RawMessage `json:"expires_in"`
	}
	if err := json.Unmarshal(a.body, &r); err != nil || r.AccessToken == "" || !validHeader("Authorization", r.AccessToken) {
		return tokenReply{}, failed(ClassAuth, "the answer of the token endpoint holds no access token")
	}
	if r.TokenType != "" && !strings.EqualFold(r.TokenType, "bearer") {
		return tokenReply{}, failed(ClassAuth, "the token endpoint issues tokens of a type other than Bearer")
	}
	return tokenReply{model.NewSecret(r.AccessToken), model.NewSecret(r.RefreshToken), tokenLife(r.ExpiresIn)}, nil
}

// tokenLife reads expires_in, which some servers write as a string.
func tokenLife(raw json.RawMessage) time.Duration {
	sec, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	switch {
	case err != nil || sec <= 0 || sec != sec:
		return defaultTokenLife
	case sec >= maxTokenLife.Seconds():
		return maxTokenLife
	}
	return time.Duration(sec * float64(time.Second))
}
