package client

import (
	"context"
	"maps"
	"net/http"
	"net/url"
)

const (
	subscriptionsPath = "/subscriptions/1/subscription"
	profilesPath      = "/subscriptions/1/profiles"
	securityPath      = "/subscriptions/1/security"
	certificatesPath  = "/subscriptions/1/certificates"
)

// get, post, put and del make the calls of the typed methods.
func get[T any](ctx context.Context, c *Client, p string, q url.Values) (out T, err error) {
	return out, c.do(ctx, call{method: http.MethodGet, path: p, query: q, out: &out})
}

func post[T any](ctx context.Context, c *Client, p string, in any) (out T, err error) {
	return out, c.do(ctx, call{method: http.MethodPost, path: p, in: in, out: &out})
}

func put[T any](ctx context.Context, c *Client, p string, in any) (out T, err error) {
	return out, c.do(ctx, call{method: http.MethodPut, path: p, in: in, out: &out})
}

func (c *Client) del(ctx context.Context, p string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: p})
}

// Subscriptions lists the subscriptions of a channel.
func (c *Client) Subscriptions(ctx context.Context, channel string, f Filter, r Read) (Page[Subscription], error) {
	return get[Page[Subscription]](ctx, c, path(subscriptionsPath, channel), f.query(r))
}

// AllSubscriptions lists the subscriptions of all channels.
func (c *Client) AllSubscriptions(ctx context.Context, f Filter, r Read) (Page[ChannelSubscription], error) {
	return get[Page[ChannelSubscription]](ctx, c, subscriptionsPath, f.query(r))
}

func (f Filter) query(r Read) url.Values {
	q := r.query()
	for name, values := range map[string][]string{
		"applicationId": f.ApplicationIDs, "entityId": f.EntityIDs, "callsConfigurationId": f.CallsConfigurationIDs, "resource": f.Resources, "user": f.Users,
	} {
		if len(values) > 0 {
			q[name] = values
		}
	}
	return set(q, "search", f.Search, "profileId", f.ProfileID, "event", f.Event)
}

// set adds the parameters that have a value to q; pairs are name, value.
func set(q url.Values, pairs ...string) url.Values {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// Subscription shows one subscription.
func (c *Client) Subscription(ctx context.Context, channel, id string, r Read) (Subscription, error) {
	return get[Subscription](ctx, c, path(subscriptionsPath, channel, id), r.query())
}

// CreateSubscription makes a subscription and what it brings inline.
func (c *Client) CreateSubscription(ctx context.Context, channel string, s Subscription) (Refs, error) {
	return post[Refs](ctx, c, path(subscriptionsPath, channel), s)
}

// ReplaceSubscription replaces a subscription: absent members are cleared.
func (c *Client) ReplaceSubscription(ctx context.Context, channel, id string, s Subscription) (Refs, error) {
	return put[Refs](ctx, c, path(subscriptionsPath, channel, id), s)
}

// DeleteSubscription deletes a subscription and leaves its profile.
func (c *Client) DeleteSubscription(ctx context.Context, channel, id string) error {
	return c.del(ctx, path(subscriptionsPath, channel, id))
}

// Profiles lists the profiles.
func (c *Client) Profiles(ctx context.Context, f ProfileFilter, r Read) (Page[Profile], error) {
	return get[Page[Profile]](ctx, c, profilesPath, set(r.query(), "search", f.Search, "authId", f.AuthID, "clientCertificateId", f.ClientCertificateID))
}

// Profile shows one profile.
func (c *Client) Profile(ctx context.Context, id string, r Read) (Profile, error) {
	return get[Profile](ctx, c, path(profilesPath, id), r.query())
}

// CreateProfile makes a profile and the setting it brings inline.
func (c *Client) CreateProfile(ctx context.Context, p Profile) (Profile, error) {
	return post[Profile](ctx, c, profilesPath, p)
}

// UpdateProfile changes what u names.
func (c *Client) UpdateProfile(ctx context.Context, id string, u ProfileUpdate) (Profile, error) {
	return put[Profile](ctx, c, path(profilesPath, id), u)
}

// DeleteProfile deletes a profile that nothing refers to.
func (c *Client) DeleteProfile(ctx context.Context, id string) error {
	return c.del(ctx, path(profilesPath, id))
}

// SecuritySettings lists the security settings, masked.
func (c *Client) SecuritySettings(ctx context.Context, f SecurityFilter, r Read) (Page[Security], error) {
	q := set(r.query(), "search", f.Search)
	if f.Unused {
		q.Set("unused", "true")
	}
	return get[Page[Security]](ctx, c, securityPath, q)
}

// Security shows one setting, masked.
func (c *Client) Security(ctx context.Context, id string, r Read) (Security, error) {
	return get[Security](ctx, c, path(securityPath, id), r.query())
}

// RevealSecurity shows one setting with its secrets. It needs the scope
// security:reveal and leaves a record in the audit log.
func (c *Client) RevealSecurity(ctx context.Context, id string) (Security, error) {
	return get[Security](ctx, c, path(securityPath, id), url.Values{"reveal": {"true"}})
}

// CreateSecurity makes a security setting.
func (c *Client) CreateSecurity(ctx context.Context, s Security) (Security, error) {
	return post[Security](ctx, c, securityPath, s)
}

// UpdateSecurity changes the members that s has.
func (c *Client) UpdateSecurity(ctx context.Context, id string, s Security) (Security, error) {
	return put[Security](ctx, c, path(securityPath, id), s)
}

// DeleteSecurity deletes a setting that nothing refers to.
func (c *Client) DeleteSecurity(ctx context.Context, id string) error {
	return c.del(ctx, path(securityPath, id))
}

// Certificates lists the certificates; q takes search, expiresBefore, sortBy and
// direction.
func (c *Client) Certificates(ctx context.Context, q url.Values, r Read) (Page[Certificate], error) {
	return get[Page[Certificate]](ctx, c, certificatesPath, merge(r.query(), q))
}

// Certificate shows one certificate.
func (c *Client) Certificate(ctx context.Context, id string, r Read) (Certificate, error) {
	return get[Certificate](ctx, c, path(certificatesPath, id), r.query())
}

// CertificateStatuses lists the status of every certificate; q as in
// Certificates.
func (c *Client) CertificateStatuses(ctx context.Context, q url.Values, r Read) (Page[CertificateStatus], error) {
	return get[Page[CertificateStatus]](ctx, c, certificatesPath+"/status", merge(r.query(), q))
}

// CertificateStatus shows the status of one certificate.
func (c *Client) CertificateStatus(ctx context.Context, id string, r Read) (CertificateStatus, error) {
	return get[CertificateStatus](ctx, c, path(certificatesPath+"/status", id), r.query())
}

// CreateCertificate uploads a certificate with its key.
func (c *Client) CreateCertificate(ctx context.Context, n NewCertificate) (CertificateStatus, error) {
	return post[CertificateStatus](ctx, c, certificatesPath, n)
}

// DeleteCertificate deletes a certificate that nothing refers to.
func (c *Client) DeleteCertificate(ctx context.Context, id string) error {
	return c.del(ctx, path(certificatesPath, id))
}

// TestConnection makes the TLS handshake with a webhook and sends no event.
func (c *Client) TestConnection(ctx context.Context, certificateID, webhookURL string) (ConnectionTest, error) {
	in := struct {
		CertificateID string `json:"certificateId,omitempty"`
		WebhookURL    string `json:"webhookUrl"`
	}{certificateID, webhookURL}
	return post[ConnectionTest](ctx, c, certificatesPath+"/test/webhook", in)
}

func merge(a, b url.Values) url.Values {
	maps.Copy(a, b)
	return a
}
