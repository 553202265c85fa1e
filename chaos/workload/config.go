package workload

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.com/belfry/chaos/history"
)

// Paths of the config API.
const (
	configPrefix      = "/subscriptions/1"
	accountsPath      = "/accounts/1/accounts"
	headerStaleness   = "Belfry-Staleness-Ms"
	staleSuffix       = ".stale"
	typeBasic         = "BASIC"
	typeHMAC          = "HMAC"
	typeCustom        = "CUSTOM"
	orderKey          = "KEY"
	orderStrict       = "STRICT"
	channelSMS        = "SMS"
	channelMMS        = "MMS"
	channelEmail      = "EMAIL"
	eventDelivery     = "DELIVERY"
	eventInbound      = "INBOUND_MESSAGE"
	setURL            = "url"
	setAuth           = "auth"
	setCertificate    = "certificate"
	retryPolicyCustom = "custom"
	hmacAlgorithm     = "HMAC_SHA_256"
	whatProfile       = "profile"
	whatSubscription  = "subscription"
	whatSecurity      = "security"
	whatCertificate   = "certificate"
	whatAccount       = "account"
	operationCreate   = "create"
	operationPut      = "put"
	operationDelete   = "delete"
)

// wire types of the config API, as far as the workloads use it.
type (
	authWire struct {
		AuthID      string         `json:"authId"`
		Type        string         `json:"type,omitempty"`
		Credentials map[string]any `json:"credentials,omitempty"`
	}
	webhookWire struct {
		NotifyURL string `json:"notifyUrl"`
	}
	retryWire struct {
		Policy      string  `json:"policy"`
		Schedule    []int64 `json:"schedule,omitempty"`
		MaxAttempts int     `json:"maxAttempts,omitempty"`
	}
	profileWire struct {
		ProfileID     string       `json:"profileId"`
		Webhook       *webhookWire `json:"webhook,omitempty"`
		Security      *authWire    `json:"security,omitempty"`
		CertificateID string       `json:"clientCertificateId,omitempty"`
		Bucket        int          `json:"maxBucketSize,omitempty"`
		ReadTimeout   int64        `json:"readTimeout,omitempty"`
		Retry         *retryWire   `json:"retry,omitempty"`
		Ordering      string       `json:"ordering,omitempty"`
	}
	criterionWire struct {
		ApplicationID string `json:"applicationId"`
	}
	subscriptionWire struct {
		SubscriptionID string          `json:"subscriptionId,omitempty"`
		Events         []string        `json:"events"`
		Criteria       []criterionWire `json:"criteria,omitempty"`
		Profile        profileWire     `json:"profile"`
	}
	certificateWire struct {
		CertificateID string `json:"certificateId"`
		Content       string `json:"certificateContent,omitempty"`
	}
)

// split takes a kind apart: "profile.get.stale" is profile, get and true.
func split(kind string) (what, operation string, stale bool) {
	kind, stale = strings.CutSuffix(kind, staleSuffix)
	what, operation, _ = strings.Cut(kind, ".")
	return what, operation, stale
}

// configPath is where an object is, or with an empty key its collection.
func configPath(what, channel, key string) string {
	var p string
	switch what {
	case whatProfile:
		p = configPrefix + "/profiles"
	case whatSubscription:
		p = configPrefix + "/subscription/" + channel
	case whatSecurity:
		p = configPrefix + "/security"
	case whatCertificate:
		p = configPrefix + "/certificates"
	case whatAccount:
		p = accountsPath
	}
	if key != "" {
		p += "/" + url.PathEscape(key)
	}
	return p
}

// change makes one change of the config and records it. What in asks for is
// sent; the credentials of a security setting follow from its key and version.
func (c *client) change(ctx context.Context, kind, key string, in history.Config) answer {
	what, operation, _ := split(kind)
	in.Request = c.requestID()
	r := request{id: in.Request, change: true, path: configPath(what, in.Channel, key)}
	switch operation {
	case operationCreate:
		r.method, r.path, r.body = http.MethodPost, configPath(what, in.Channel, ""), c.createBody(what, key, in)
	case operationPut:
		r.method, r.body = http.MethodPut, putBody(what, key, in)
	case operationDelete:
		r.method = http.MethodDelete
	}
	a := c.send(ctx, r)
	var refs struct {
		SubscriptionID string       `json:"subscriptionId"`
		Profile        *profileWire `json:"profile"`
		ProfileID      string       `json:"profileId"`
		Security       *authWire    `json:"security"`
		AuthID         string       `json:"authId"`
	}
	var out any
	if len(a.body) > 0 && a.decode(&refs) {
		o := history.Refs{Subscription: refs.SubscriptionID, Profile: refs.ProfileID, Auth: refs.AuthID}
		p := &profileWire{Security: refs.Security}
		if refs.Profile != nil {
			p = refs.Profile
			o.Profile = p.ProfileID
		}
		if p.Security != nil {
			o.Auth = p.Security.AuthID
		}
		out = o
	}
	c.note(kind, key, in, out, a)
	return a
}

func (c *client) createBody(what, key string, in history.Config) any {
	switch what {
	case whatProfile:
		return newProfile(key, *in.Profile, in.Security)
	case whatSubscription:
		w := subscriptionBody(*in.Subscription)
		w.SubscriptionID = key
		if in.Profile != nil {
			w.Profile = newProfile(in.Subscription.Profile, *in.Profile, in.Security)
		}
		return w
	case whatSecurity:
		return authWire{AuthID: key, Type: in.Security.Type, Credentials: credentials(key, *in.Security)}
	case whatCertificate:
		return certificateWire{CertificateID: key, Content: c.e.certificate()}
	}
	return map[string]string{"accountId": key, "name": key}
}

func newProfile(id string, p history.Profile, inline *history.Security) profileWire {
	w := profileWire{
		ProfileID: id, Webhook: &webhookWire{p.URL}, CertificateID: p.Certificate,
		Bucket: p.Bucket, ReadTimeout: p.ReadTimeout, Ordering: p.Ordering,
	}
	if len(p.Schedule) > 0 {
		w.Retry = &retryWire{Policy: retryPolicyCustom, Schedule: p.Schedule, MaxAttempts: p.MaxAttempts}
	}
	switch {
	case inline != nil:
		w.Security = &authWire{AuthID: inline.ID, Type: inline.Type, Credentials: credentials(inline.ID, *inline)}
	case p.Auth != "":
		w.Security = &authWire{AuthID: p.Auth}
	}
	return w
}

func subscriptionBody(s history.Subscription) subscriptionWire {
	w := subscriptionWire{Events: append([]string{}, s.Events...), Profile: profileWire{ProfileID: s.Profile}}
	for _, a := range s.Applications {
		w.Criteria = append(w.Criteria, criterionWire{a})
	}
	return w
}

// putBody is the body of an update. Of a profile it holds what is Set, and null
// for what is taken away.
func putBody(what, key string, in history.Config) any {
	switch what {
	case whatSubscription:
		s := subscriptionBody(*in.Subscription)
		return map[string]any{"events": s.Events, "criteria": append([]criterionWire{}, s.Criteria...), "profile": map[string]string{"profileId": s.Profile.ProfileID}}
	case whatSecurity:
		return authWireUpdate{Type: in.Security.Type, Credentials: credentials(key, *in.Security)}
	}
	body := map[string]any{}
	if slices.Contains(in.Profile.Set, setURL) {
		body["webhook"] = webhookWire{in.Profile.URL}
	}
	if slices.Contains(in.Profile.Set, setAuth) {
		body["security"] = nil
		if in.Profile.Auth != "" {
			body["security"] = map[string]string{"authId": in.Profile.Auth}
		}
	}
	if slices.Contains(in.Profile.Set, setCertificate) {
		body["clientCertificateId"] = nil
		if in.Profile.Certificate != "" {
			body["clientCertificateId"] = in.Profile.Certificate
		}
	}
	return body
}

// authWireUpdate has no id: that is in the path.
type authWireUpdate struct {
	Type        string         `json:"type"`
	Credentials map[string]any `json:"credentials"`
}

// read reads one object and records it.
func (c *client) read(ctx context.Context, kind, key string, in history.Config) (history.State, answer) {
	what, _, stale := split(kind)
	r := request{method: http.MethodGet, path: configPath(what, in.Channel, key)}
	if stale {
		r.path += "?consistency=stale"
	}
	a := c.send(ctx, r)
	var st history.State
	if a.status == http.StatusNotFound {
		a.outcome, a.text, st.Absent = history.OK, "", true
	} else if a.ok() {
		st = stateOf(what, &a, a.body)
	}
	if stale && a.ok() {
		st.Staleness = staleness(a.header)
	}
	var out any
	if a.text == "" { // what cannot be read shows nothing
		out = st
	}
	c.note(kind, key, in, out, a)
	return st, a
}

// staleness is what an answer says of its age. Who says nothing says 0, which
// is judged like any other bound.
func staleness(h http.Header) int64 {
	said := h.Get(headerStaleness)
	if said == "unknown" {
		return -1
	}
	ms, _ := strconv.ParseInt(said, 10, 64)
	return ms
}

// barrier brings the client's node up to date: what is posted to it from now
// on is matched against every change that was answered before.
func (c *client) barrier(ctx context.Context, account string) bool {
	a := c.send(ctx, request{method: http.MethodGet, path: configPath(whatProfile, "", "") + "?size=1"})
	c.note(history.Barrier, "", history.Config{Account: account}, nil, a)
	return a.ok()
}

// stateOf reads an object of the config API out of raw.
func stateOf(what string, a *answer, raw json.RawMessage) history.State {
	var st history.State
	probe := answer{outcome: history.OK, body: raw}
	switch what {
	case whatProfile:
		var w profileWire
		if probe.decode(&w) {
			st.ID, st.Profile = w.ProfileID, profileState(w)
		}
	case whatSubscription:
		var w subscriptionWire
		if probe.decode(&w) {
			st.ID, st.Subscription = w.SubscriptionID, &history.Subscription{Events: w.Events, Profile: w.Profile.ProfileID}
			for _, k := range w.Criteria {
				st.Subscription.Applications = append(st.Subscription.Applications, k.ApplicationID)
			}
		}
	case whatSecurity:
		var w authWire
		if probe.decode(&w) {
			st.ID, st.Security = w.AuthID, &history.Security{Type: w.Type}
			if name, ok := w.Credentials["username"].(string); ok && w.Type == typeBasic {
				st.Security.Version = versionOf(name)
			}
		}
	case whatCertificate:
		var w certificateWire
		if probe.decode(&w) {
			st.ID = w.CertificateID
		}
	}
	if probe.text != "" {
		a.text = probe.text
	}
	return st
}

func profileState(w profileWire) *history.Profile {
	p := &history.Profile{Certificate: w.CertificateID, Ordering: w.Ordering}
	if w.Webhook != nil {
		p.URL = w.Webhook.NotifyURL
	}
	if w.Security != nil {
		p.Auth = w.Security.AuthID
	}
	if w.Retry != nil {
		p.Schedule, p.MaxAttempts = w.Retry.Schedule, w.Retry.MaxAttempts
	}
	return p
}
