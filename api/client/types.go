package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// Read says how an object or a list is read.
type Read struct {
	// Stale answers from what the node has, without asking the leader.
	Stale bool
	// Page counts from 0; Size 0 is the server's default of 20.
	Page, Size int
}

func (r Read) query() url.Values {
	q := url.Values{}
	if r.Stale {
		q.Set("consistency", "stale")
	}
	if r.Page > 0 {
		q.Set("page", strconv.Itoa(r.Page))
	}
	if r.Size > 0 {
		q.Set("size", strconv.Itoa(r.Size))
	}
	return q
}

// Page is one page of a list.
type Page[T any] struct {
	Results []T `json:"results"`
	Paging  struct {
		Page         int `json:"page"`
		Size         int `json:"size"`
		TotalPages   int `json:"totalPages"`
		TotalResults int `json:"totalResults"`
	} `json:"paging"`
}

// All runs over every page of a list. It ends after the first error. Objects
// that are made or deleted meanwhile may be missed or come twice.
func All[T any](ctx context.Context, list func(context.Context, Read) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := 0; ; page++ {
			p, err := list(ctx, Read{Page: page, Size: model.MaxPageSize})
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, it := range p.Results {
				if !yield(it, nil) {
					return
				}
			}
			if page+1 >= p.Paging.TotalPages {
				return
			}
		}
	}
}

// EventName is one entry of a subscription's event list; with a Format it is
// written as an object.
type EventName struct{ Event, Format string }

// MarshalJSON writes a name, or an object when there is a format.
func (e EventName) MarshalJSON() ([]byte, error) {
	if e.Format == "" {
		return json.Marshal(e.Event)
	}
	return json.Marshal(map[string]string{"event": e.Event, "format": e.Format})
}

// UnmarshalJSON reads both forms.
func (e *EventName) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		e.Format = ""
		return json.Unmarshal(b, &e.Event)
	}
	var o struct{ Event, Format string }
	err := json.Unmarshal(b, &o)
	e.Event, e.Format = o.Event, o.Format
	return err
}

type (
	// Criterion narrows a subscription.
	Criterion struct {
		ApplicationID        string `json:"applicationId,omitempty"`
		EntityID             string `json:"entityId,omitempty"`
		CallsConfigurationID string `json:"callsConfigurationId,omitempty"`
	}

	// Subscription is a subscription with its profile: by id alone to reuse
	// one, in full to create it as well.
	Subscription struct {
		SubscriptionID string      `json:"subscriptionId,omitempty"`
		Name           string      `json:"name,omitempty"`
		Events         []EventName `json:"events"`
		Criteria       []Criterion `json:"criteria,omitempty"`
		Resources      []string    `json:"resources,omitempty"`
		Users          []string    `json:"users,omitempty"`
		Profile        Profile     `json:"profile"`
	}

	// ChannelSubscription is a subscription with its channel.
	ChannelSubscription struct {
		Channel string `json:"channel"`
		Subscription
	}

	// Filter narrows a list of subscriptions; all that is set must match.
	Filter struct {
		// Search is a part of the id, the name or the profile's id, in the list of
		// all channels also of the channel; case does not count.
		Search string
		// ProfileID is the profile it goes through, Event one that it takes.
		ProfileID, Event string

		ApplicationIDs, EntityIDs, CallsConfigurationIDs, Resources, Users []string
	}

	// ProfileFilter narrows a list of profiles; all that is set must match.
	ProfileFilter struct {
		// Search is a part of the id, the URL, or the id of the setting or the
		// certificate; case does not count.
		Search string
		// AuthID and ClientCertificateID are those that it uses.
		AuthID, ClientCertificateID string
	}

	// SecurityFilter narrows a list of settings; all that is set must match.
	SecurityFilter struct {
		Search string // part of the id or the type; case does not count
		Unused bool   // no profile uses it
	}

	// Webhook is where a profile delivers to.
	Webhook struct {
		NotifyURL   string `json:"notifyUrl,omitempty"`
		ContentType string `json:"contentType,omitempty"`
	}

	// RetryPolicy is the retry policy of a profile.
	RetryPolicy struct {
		Policy      string  `json:"policy"`
		Schedule    []int64 `json:"schedule,omitempty"` // seconds
		MaxAttempts int     `json:"maxAttempts,omitempty"`
		MaxAge      int64   `json:"maxAge,omitempty"` // seconds
	}

	// Profile is a notification profile. Zero members are left out.
	Profile struct {
		ProfileID           string            `json:"profileId,omitempty"`
		Webhook             *Webhook          `json:"webhook,omitempty"`
		Security            *Security         `json:"security,omitempty"`
		ClientCertificateID string            `json:"clientCertificateId,omitempty"`
		MaxBucketSize       int               `json:"maxBucketSize,omitempty"`
		WindowSize          int               `json:"windowSize,omitempty"`
		ConnectTimeout      int               `json:"connectTimeout,omitempty"` // ms
		ReadTimeout         int               `json:"readTimeout,omitempty"`    // ms
		EnabledSSLProtocols []string          `json:"enabledSSLProtocols,omitempty"`
		Headers             map[string]string `json:"headers,omitempty"`
		ResponseRegex       string            `json:"responseRegex,omitempty"`
		ResponseBodyRegex   string            `json:"responseBodyRegex,omitempty"`
		RateLimit           int               `json:"rateLimit,omitempty"` // requests/s
		Retry               *RetryPolicy      `json:"retry,omitempty"`
		Ordering            string            `json:"ordering,omitempty"`
		Enabled             *bool             `json:"enabled,omitempty"`
		DisabledReason      string            `json:"disabledReason,omitempty"`
	}

	// ProfileUpdate changes a profile: zero members stay, model.Null clears.
	ProfileUpdate struct {
		Webhook             model.Opt[Webhook]           `json:"webhook,omitzero"`
		Security            model.Opt[Security]          `json:"security,omitzero"`
		ClientCertificateID model.Opt[string]            `json:"clientCertificateId,omitzero"`
		MaxBucketSize       model.Opt[int]               `json:"maxBucketSize,omitzero"`
		WindowSize          model.Opt[int]               `json:"windowSize,omitzero"`
		ConnectTimeout      model.Opt[int]               `json:"connectTimeout,omitzero"`
		ReadTimeout         model.Opt[int]               `json:"readTimeout,omitzero"`
		EnabledSSLProtocols model.Opt[[]string]          `json:"enabledSSLProtocols,omitzero"`
		Headers             model.Opt[map[string]string] `json:"headers,omitzero"`
		ResponseRegex       model.Opt[string]            `json:"responseRegex,omitzero"`
		ResponseBodyRegex   model.Opt[string]            `json:"responseBodyRegex,omitzero"`
		RateLimit           model.Opt[int]               `json:"rateLimit,omitzero"`
		Retry               model.Opt[RetryPolicy]       `json:"retry,omitzero"`
		Ordering            model.Opt[string]            `json:"ordering,omitzero"`
		Enabled             model.Opt[bool]              `json:"enabled,omitzero"`
	}

	// Credentials are those of a security setting; its type says which.
	// Secrets come back masked unless they were revealed.
	Credentials struct {
		Username                    string            `json:"username,omitempty"`
		Password                    string            `json:"password,omitempty"`
		SecretKey                   string            `json:"secretKey,omitempty"`
		Algorithm                   string            `json:"algorithm,omitempty"`
		HeaderName                  string            `json:"headerName,omitempty"`
		Encoding                    string            `json:"encoding,omitempty"`
		PreviousSecretKey           string            `json:"previousSecretKey,omitempty"`
		PreviousSecretKeyValidUntil *time.Time        `json:"previousSecretKeyValidUntil,omitempty"`
		TokenURL                    string            `json:"tokenUrl,omitempty"`
		GrantType                   string            `json:"grantType,omitempty"`
		ClientID                    string            `json:"clientId,omitempty"`
		ClientSecret                string            `json:"clientSecret,omitempty"`
		Scope                       string            `json:"scope,omitempty"`
		Resource                    string            `json:"resource,omitempty"`
		RefreshToken                string            `json:"refreshToken,omitempty"`
		Headers                     map[string]string `json:"headers,omitempty"`
	}

	// Security is an authentication setting.
	Security struct {
		AuthID      string       `json:"authId,omitempty"`
		Type        string       `json:"type,omitempty"` // BASIC, HMAC, OAUTH or CUSTOM
		Credentials *Credentials `json:"credentials,omitempty"`
	}

	// Refs are the ids in the answer to a change.
	Refs struct {
		SubscriptionID string  `json:"subscriptionId"`
		Profile        Profile `json:"profile"`
	}

	// NewCertificate is an upload.
	NewCertificate struct {
		CertificateID string `json:"certificateId,omitempty"`
		Content       string `json:"certificateContent"` // base64
		Passphrase    string `json:"passphrase,omitempty"`
	}

	// Certificate is a client certificate.
	Certificate struct {
		CertificateID string `json:"certificateId"`
		IssuedBy      string `json:"issuedBy"`
		IssuedTo      string `json:"issuedTo"`
		ValidFrom     int64  `json:"validFrom"`  // Unix ms
		ValidUntil    int64  `json:"validUntil"` // Unix ms
		Status        string `json:"certificateStatus"`
		SerialNumber  string `json:"serialNumber"`
	}

	// CertificateStatus is the short form of a certificate.
	CertificateStatus struct {
		CertificateID string `json:"certificateId"`
		Status        string `json:"status"` // PROCESSING, READY or EXPIRED
	}

	// ConnectionTest is the outcome of a connection test.
	ConnectionTest struct {
		CertificateID string   `json:"certificateId"`
		WebhookURL    string   `json:"webhookUrl"`
		Result        string   `json:"result"`
		FailReasons   []string `json:"failReasons"`
		Hint          string   `json:"hint"`
	}
)

type (
	// Account owns everything else.
	Account struct {
		AccountID string    `json:"accountId"`
		Name      string    `json:"name,omitempty"`
		Disabled  bool      `json:"disabled,omitempty"`
		CreatedAt time.Time `json:"createdAt,omitzero"`
		UpdatedAt time.Time `json:"updatedAt,omitzero"`
	}
	// AccountUpdate changes an account: zero members stay, model.Null clears.
	AccountUpdate struct {
		Name     model.Opt[string] `json:"name,omitzero"`
		Disabled model.Opt[bool]   `json:"disabled,omitzero"`
	}

	// NewKey is an API key to be made.
	NewKey struct {
		Name      string        `json:"name,omitempty"`
		Scopes    []model.Scope `json:"scopes"`
		ExpiresAt time.Time     `json:"expiresAt,omitzero"`
		CIDRs     []string      `json:"cidrs,omitempty"`
		Disabled  bool          `json:"disabled,omitempty"`
	}
	// Key is an API key. Secret is set only in the answer to CreateKey.
	Key struct {
		KeyID     string        `json:"keyId"`
		AccountID string        `json:"accountId"`
		Name      string        `json:"name,omitempty"`
		Scopes    []model.Scope `json:"scopes"`
		ExpiresAt time.Time     `json:"expiresAt,omitzero"`
		CIDRs     []string      `json:"cidrs"`
		Disabled  bool          `json:"disabled"`
		CreatedAt time.Time     `json:"createdAt"`
		UpdatedAt time.Time     `json:"updatedAt"`
		Secret    model.Secret  `json:"-"`
	}
	// KeyUpdate changes a key: zero members stay, model.Null clears.
	KeyUpdate struct {
		Name      model.Opt[string]        `json:"name,omitzero"`
		Scopes    model.Opt[[]model.Scope] `json:"scopes,omitzero"`
		ExpiresAt model.Opt[time.Time]     `json:"expiresAt,omitzero"`
		CIDRs     model.Opt[[]string]      `json:"cidrs,omitzero"`
		Disabled  model.Opt[bool]          `json:"disabled,omitzero"`
	}

	// NewUser is a user to be made.
	NewUser struct {
		Username string        `json:"username"`
		Password string        `json:"password"`
		Scopes   []model.Scope `json:"scopes"`
		Disabled bool          `json:"disabled,omitempty"`
	}
	// User signs in by name and password.
	User struct {
		Username  string        `json:"username"`
		AccountID string        `json:"accountId"`
		Scopes    []model.Scope `json:"scopes"`
		Disabled  bool          `json:"disabled"`
		CreatedAt time.Time     `json:"createdAt"`
		UpdatedAt time.Time     `json:"updatedAt"`
	}
	// UserUpdate changes a user: zero members stay.
	UserUpdate struct {
		Password model.Opt[string]        `json:"password,omitzero"`
		Scopes   model.Opt[[]model.Scope] `json:"scopes,omitzero"`
		Disabled model.Opt[bool]          `json:"disabled,omitzero"`
	}

	// AuditRecord says who changed what.
	AuditRecord struct {
		Index     uint64        `json:"index"`
		At        time.Time     `json:"at"`
		Actor     string        `json:"actor"`
		ActorFrom string        `json:"actorFrom"`
		RequestID string        `json:"requestId"`
		Action    string        `json:"action"`
		Object    string        `json:"object"`
		Changes   []AuditChange `json:"changes,omitempty"`
		// MoreChanges: more was changed than Changes lists.
		MoreChanges bool `json:"moreChanges,omitempty"`
	}
	// AuditChange is a member that a change gave another value; empty: it had
	// none. Secrets are dots.
	AuditChange struct {
		Object string `json:"object"` // kind and id
		Member string `json:"member"`
		Before string `json:"before,omitempty"`
		After  string `json:"after,omitempty"`
	}

	// Node is a member of the cluster.
	Node struct {
		NodeID       string `json:"nodeId"`
		APIAddress   string `json:"apiAddress"`
		PeerAddress  string `json:"peerAddress"`
		Role         string `json:"role"` // LEADER or FOLLOWER
		Voter        bool   `json:"voter"`
		Live         bool   `json:"live"`
		Draining     bool   `json:"draining"` // or about to stop
		AppliedIndex uint64 `json:"appliedIndex"`
	}
	// Partition is a part of the event plane and its owner.
	Partition struct {
		Partition int    `json:"partition"`
		Owner     string `json:"owner"`
		Epoch     uint64 `json:"epoch"`
	}

	// Caller is who a request is made by: a key or a user.
	Caller struct {
		AccountID string        `json:"accountId"`
		KeyID     string        `json:"keyId"`
		Username  string        `json:"username"`
		Scopes    []model.Scope `json:"scopes"`
		// TokenExpiresAt is zero unless the credentials are a token.
		TokenExpiresAt time.Time `json:"tokenExpiresAt"`
		// SessionEndsAt is until when it can be renewed to last.
		SessionEndsAt time.Time `json:"sessionEndsAt"`
	}

	// RenewedToken is a token that came of another one, of the same scheme.
	RenewedToken struct {
		Token          model.Secret
		TokenExpiresAt time.Time
		SessionEndsAt  time.Time // no renewal lasts longer
	}

	// Token is a Bearer token.
	Token struct {
		AccessToken model.Secret
		ExpiresIn   time.Duration
		Scope       string
	}

	// Readiness is what GET /readyz says.
	Readiness struct {
		Status string `json:"status"` // ok or failed
		Checks []struct {
			Name  string `json:"name"`
			OK    bool   `json:"ok"`
			Error string `json:"error"`
		} `json:"checks"`
	}
)

// Event is an event to publish, as event.Event; its ID makes publishing
// repeatable.
type Event struct {
	EventID              string         `json:"eventId,omitempty"`
	Channel              string         `json:"channel"`
	Event                string         `json:"event"`
	Format               string         `json:"format,omitempty"`
	ApplicationID        string         `json:"applicationId,omitempty"`
	EntityID             string         `json:"entityId,omitempty"`
	CallsConfigurationID string         `json:"callsConfigurationId,omitempty"`
	Resource             string         `json:"resource,omitempty"`
	User                 string         `json:"user,omitempty"`
	OccurredAt           time.Time      `json:"occurredAt,omitzero"`
	OrderingKey          string         `json:"orderingKey,omitempty"`
	Webhook              *event.Webhook `json:"webhook,omitempty"`
	// Payload is encoded as JSON and must give an object.
	Payload any `json:"payload"`
}
