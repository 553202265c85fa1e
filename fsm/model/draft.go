package model

import (
	"encoding/json"
	"time"
)

// Opt is a member of a partial update: absent (leave as it is), null (clear)
// or a value. The zero value is absent; with the JSON option omitzero it is
// left out when encoded, and decoding tells null from absent.
type Opt[T any] struct {
	Set   bool // false: absent
	Null  bool // true: clear it
	Value T
}

// Some makes an Opt that holds v.
func Some[T any](v T) Opt[T] { return Opt[T]{Set: true, Value: v} }

// Null makes an Opt that clears.
func Null[T any]() Opt[T] { return Opt[T]{Set: true, Null: true} }

// IsZero reports whether o is absent.
func (o Opt[T]) IsZero() bool { return !o.Set }

// ApplyTo writes o into dst: nothing when absent, the zero value when null.
func (o Opt[T]) ApplyTo(dst *T) {
	if !o.Set {
		return
	}
	var zero T
	*dst = zero
	if !o.Null {
		*dst = o.Value
	}
}

// MarshalJSON writes null or the value. An absent Opt must be left out by
// omitzero; it is written as null otherwise.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if !o.Set || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// UnmarshalJSON is called only when the member is present.
func (o *Opt[T]) UnmarshalJSON(b []byte) error {
	o.Set = true
	if string(b) == "null" {
		o.Null = true
		return nil
	}
	o.Null = false
	return json.Unmarshal(b, &o.Value)
}

// SecurityDraft is a new security setting with its secrets in the clear. The
// writer seals Clear into Security.Secrets before anything is proposed.
type SecurityDraft struct {
	Security
	Clear map[SecretField]Secret
}

// SecurityPatch changes a security setting. When Type changes, the credentials
// of the new type must be complete and those of the old type are dropped.
type SecurityPatch struct {
	Type       Opt[CredentialsType] `json:"type,omitzero"`
	Username   Opt[string]          `json:"username,omitzero"`
	Algorithm  Opt[HMACAlgorithm]   `json:"algorithm,omitzero"`
	HeaderName Opt[string]          `json:"headerName,omitzero"`
	Encoding   Opt[string]          `json:"encoding,omitzero"`
	// PreviousUntilMs is Unix milliseconds: until when a previousSecretKey
	// that comes with this patch, or the secretKey that it replaces, is used
	// for a second signature.
	PreviousUntilMs Opt[int64]  `json:"previousUntilMs,omitzero"`
	TokenURL        Opt[string] `json:"tokenUrl,omitzero"`
	GrantType       Opt[string] `json:"grantType,omitzero"`
	ClientID        Opt[string] `json:"clientId,omitzero"`
	Scope           Opt[string] `json:"scope,omitzero"`
	Resource        Opt[string] `json:"resource,omitzero"`
	// Headers is the full set of secret header names after the change. Names
	// without a value in Clear keep the value they have.
	Headers Opt[[]string] `json:"headers,omitzero"`
	// Clear holds new secret values, or null to clear one. It never leaves
	// the writer: Sealed goes into the command in its place.
	Clear  map[SecretField]Opt[Secret] `json:"-"`
	Sealed map[SecretField]Opt[Sealed] `json:"sealed,omitempty"`
}

// ProfileDraft is a new profile. With Security set the setting is created in
// the same command; with Profile.SecurityID set it must exist.
type ProfileDraft struct {
	Profile
	Security *SecurityDraft
}

// ProfilePatch changes a profile: absent members stay, null clears.
type ProfilePatch struct {
	URL                 Opt[string]            `json:"url,omitzero"`
	ContentType         Opt[string]            `json:"contentType,omitzero"`
	SecurityID          Opt[string]            `json:"securityId,omitzero"`
	CertificateID       Opt[string]            `json:"certificateId,omitzero"`
	MaxBucketSize       Opt[int]               `json:"maxBucketSize,omitzero"`
	WindowSize          Opt[int]               `json:"windowSize,omitzero"`
	ConnectTimeoutMs    Opt[int]               `json:"connectTimeoutMs,omitzero"`
	ReadTimeoutMs       Opt[int]               `json:"readTimeoutMs,omitzero"`
	RateLimit           Opt[int]               `json:"rateLimit,omitzero"`
	EnabledSSLProtocols Opt[[]string]          `json:"enabledSslProtocols,omitzero"`
	Headers             Opt[map[string]string] `json:"headers,omitzero"`
	ResponseRegex       Opt[string]            `json:"responseRegex,omitzero"`
	ResponseBodyRegex   Opt[string]            `json:"responseBodyRegex,omitzero"`
	Retry               Opt[Retry]             `json:"retry,omitzero"`
	Ordering            Opt[Ordering]          `json:"ordering,omitzero"`
	Enabled             Opt[bool]              `json:"enabled,omitzero"` // null: enabled
	DisabledReason      Opt[string]            `json:"disabledReason,omitzero"`
}

// SubscriptionDraft is a new subscription. Exactly one of Profile (create it
// in the same command) and Subscription.ProfileID (reuse) is set.
type SubscriptionDraft struct {
	Subscription
	Profile *ProfileDraft
}

// Refs are the ids that an answer of the config API names. Empty ids are left
// out of the answer.
type Refs struct {
	SubscriptionID string `json:"subscriptionId,omitempty"`
	ProfileID      string `json:"profileId,omitempty"`
	SecurityID     string `json:"securityId,omitempty"`
}

// SubscriptionFilter narrows a list of subscriptions. All that is set must
// fit, repeats of one name included: a subscription must name each of them.
type SubscriptionFilter struct {
	// Search is a part of the id, the name or the id of the profile, in a list
	// over all channels also of the channel. Case does not count.
	Search string
	// ProfileID is that of the profile it goes through.
	ProfileID string
	// Event is one that it takes: it names it, or it names none and its channel
	// has it.
	Event string

	ApplicationIDs, EntityIDs, CallsConfigurationIDs, Resources, Users []string
}

// IsZero reports whether everything fits.
func (f SubscriptionFilter) IsZero() bool {
	return f.Search == "" && f.ProfileID == "" && f.Event == "" &&
		len(f.ApplicationIDs)+len(f.EntityIDs)+len(f.CallsConfigurationIDs)+len(f.Resources)+len(f.Users) == 0
}

// ProfileFilter narrows a list of profiles. All that is set must fit.
type ProfileFilter struct {
	// Search is a part of the id, the URL, or the id of the security setting or
	// the certificate. Case does not count.
	Search string
	// SecurityID and CertificateID are those that it uses.
	SecurityID, CertificateID string
}

// SecurityFilter narrows a list of security settings. All that is set must fit.
type SecurityFilter struct {
	Search string // part of the id or the type; case does not count
	Unused bool   // no profile uses it
}

// CertificateFilter narrows and sorts a list of certificates.
type CertificateFilter struct {
	Search     string // part of the id; case does not count
	Descending bool   // by id; ascending is the default when sorted
	SortByID   bool   // false: newest first
	// ExpiresBefore leaves out those that are still valid at this instant; zero:
	// none.
	ExpiresBefore time.Time
}

// AccountPatch, KeyPatch and UserPatch change what an operator may change.
type (
	// AccountPatch changes an account.
	AccountPatch struct {
		Name     Opt[string] `json:"name,omitzero"`
		Disabled Opt[bool]   `json:"disabled,omitzero"`
	}
	// KeyPatch changes an API key. The secret cannot be changed.
	KeyPatch struct {
		Name      Opt[string]   `json:"name,omitzero"`
		Scopes    Opt[[]Scope]  `json:"scopes,omitzero"`
		ExpiresMs Opt[int64]    `json:"expiresMs,omitzero"` // Unix ms; null: never
		CIDRs     Opt[[]string] `json:"cidrs,omitzero"`
		Disabled  Opt[bool]     `json:"disabled,omitzero"`
	}
	// UserPatch changes a user.
	UserPatch struct {
		PasswordHash Opt[string]  `json:"passwordHash,omitzero"`
		Scopes       Opt[[]Scope] `json:"scopes,omitzero"`
		Disabled     Opt[bool]    `json:"disabled,omitzero"`
	}
)
