package model

import (
	"net/netip"
	"time"
)

// DefaultAccount is the account that bootstrap creates. Its first key is the
// operator's.
const DefaultAccount = "default"

// Meta is what every stored object carries. The times come from the proposer
// (Apply reads no clock), the indices are those of the config group's log.
type Meta struct {
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
	CreatedIndex uint64    `json:"createdIndex"`
	UpdatedIndex uint64    `json:"updatedIndex"`
}

// Account owns everything else. DataKey is the account's data key, wrapped by
// the master key ring; secrets of the account are sealed under it.
type Account struct {
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
	DataKey  Sealed `json:"dataKey,omitempty"`
	Meta
}

// Key is an API key. Only the SHA-256 of its secret part is stored.
type Key struct {
	Account   string         `json:"account"`
	ID        string         `json:"id"` // unique over all accounts
	Name      string         `json:"name,omitempty"`
	Hash      []byte         `json:"hash"`
	Scopes    []Scope        `json:"scopes"`
	ExpiresAt time.Time      `json:"expiresAt,omitzero"`
	CIDRs     []netip.Prefix `json:"cidrs,omitempty"` // empty: any address
	Disabled  bool           `json:"disabled,omitempty"`
	Meta
}

// User is a person or program that signs in by name and password.
type User struct {
	Account      string  `json:"account"`
	Username     string  `json:"username"`     // unique over all accounts: Basic names no account
	PasswordHash string  `json:"passwordHash"` // argon2id, PHC string form
	Scopes       []Scope `json:"scopes"`
	Disabled     bool    `json:"disabled,omitempty"`
	Meta
}

// RevokedToken is the id of a session or bearer token that was ended early.
// It can be forgotten after Until, when the token is out of date anyway.
type RevokedToken struct {
	ID    string    `json:"id"`
	Until time.Time `json:"until"`
}

// CredentialsType says how a security setting authenticates a delivery.
type CredentialsType string

// The types of security settings.
const (
	CredentialsBasic  CredentialsType = "BASIC"
	CredentialsHMAC   CredentialsType = "HMAC"
	CredentialsOAuth  CredentialsType = "OAUTH"
	CredentialsCustom CredentialsType = "CUSTOM"
)

// HMACAlgorithm names the hash of an HMAC setting.
type HMACAlgorithm string

// The six algorithms of the contract. MD5 and SHA-1 are there for
// compatibility.
const (
	HMACMD5    HMACAlgorithm = "HMAC_MD5"
	HMACSHA1   HMACAlgorithm = "HMAC_SHA_1"
	HMACSHA224 HMACAlgorithm = "HMAC_SHA_224"
	HMACSHA256 HMACAlgorithm = "HMAC_SHA_256"
	HMACSHA384 HMACAlgorithm = "HMAC_SHA_384"
	HMACSHA512 HMACAlgorithm = "HMAC_SHA_512"
)

// Security is an authentication setting. Everything that is secret is in
// Secrets, sealed; the other members are in the clear.
type Security struct {
	Account string          `json:"account"`
	ID      string          `json:"id"`
	Type    CredentialsType `json:"type"`

	Username  string        `json:"username,omitempty"`  // BASIC, OAUTH
	Algorithm HMACAlgorithm `json:"algorithm,omitempty"` // HMAC
	// HeaderName and Encoding ("hex" or "base64") of the HMAC signature;
	// empty: the node's defaults. Additions of ours.
	HeaderName string `json:"headerName,omitempty"`
	Encoding   string `json:"encoding,omitempty"`
	// PreviousUntil is when the previous secret key of an HMAC setting stops
	// being used for a second signature.
	PreviousUntil time.Time `json:"previousUntil,omitzero"`

	TokenURL  string `json:"tokenUrl,omitempty"` // OAUTH …
	GrantType string `json:"grantType,omitempty"`
	ClientID  string `json:"clientId,omitempty"`
	Scope     string `json:"scope,omitempty"`
	Resource  string `json:"resource,omitempty"`

	// Secrets: password, secretKey, previousSecretKey, clientSecret,
	// refreshToken, and header:<name> for OAUTH's extra headers and CUSTOM's.
	Secrets map[SecretField]Sealed `json:"secrets,omitempty"`
	Meta
}

// Certificate is a client certificate for mTLS with webhooks.
type Certificate struct {
	Account string `json:"account"`
	ID      string `json:"id"`
	// ChainPEM holds the leaf and then its chain, without any key.
	ChainPEM     []byte    `json:"chainPem"`
	IssuedBy     string    `json:"issuedBy"`
	IssuedTo     string    `json:"issuedTo"`
	ValidFrom    time.Time `json:"validFrom"`
	ValidUntil   time.Time `json:"validUntil"`
	SerialNumber string    `json:"serialNumber"` // decimal
	// Secrets holds privateKey: a sealed PKCS#8 DER key.
	Secrets map[SecretField]Sealed `json:"secrets,omitempty"`
	Meta
}

// CertificateStatus is the state of a certificate as clients see it. It is
// derived, not stored.
type CertificateStatus string

// The states of a certificate: PROCESSING until every voter has applied it.
const (
	CertificateProcessing CertificateStatus = "PROCESSING"
	CertificateReady      CertificateStatus = "READY"
	CertificateExpired    CertificateStatus = "EXPIRED"
)

// Defaults and limits of a profile's knobs; the limits are the contract's.
const (
	DefaultWindowSize       = 20
	DefaultConnectTimeoutMs = 10000
	DefaultReadTimeoutMs    = 10000
	DefaultMaxBucketSize    = 100
	DefaultContentType      = "application/json"

	MinMaxBucketSize    = 1
	MaxMaxBucketSize    = 2000
	MinWindowSize       = 20
	MaxWindowSize       = 10000
	MinConnectTimeoutMs = 300
	MaxConnectTimeoutMs = 30000
	MinReadTimeoutMs    = 1000
	MaxReadTimeoutMs    = 90000
	MinRateLimit        = 1
	MaxRateLimit        = 5000
)

// Ordering says what order the deliveries of a profile keep. Addition of ours.
type Ordering string

// The orderings. The empty value means OrderingNone.
const (
	OrderingNone   Ordering = "NONE"
	OrderingKey    Ordering = "KEY"
	OrderingStrict Ordering = "STRICT"
)

// RetryPolicy names a retry schedule.
type RetryPolicy string

// The retry policies. The empty value means RetryInfobip.
const (
	RetryInfobip  RetryPolicy = "infobip"
	RetryStandard RetryPolicy = "standard"
	RetryCustom   RetryPolicy = "custom"
)

// Retry is the retry rule of a profile. Addition of ours.
type Retry struct {
	Policy RetryPolicy `json:"policy"`
	// Schedule holds the waits of a custom policy in seconds.
	Schedule []int64 `json:"schedule,omitempty"`
	// MaxAttempts bounds all attempts, the first included; 0: the policy's.
	MaxAttempts int `json:"maxAttempts,omitempty"`
	// MaxAgeSeconds is how old a delivery may become; 0: no bound.
	MaxAgeSeconds int64 `json:"maxAgeSeconds,omitempty"`
}

// Profile is a notification profile: where and how to deliver. A zero number
// means "not set": Effective fills the defaults in.
type Profile struct {
	Account string `json:"account"`
	ID      string `json:"id"`

	URL         string `json:"url"`
	ContentType string `json:"contentType,omitempty"`

	SecurityID    string `json:"securityId,omitempty"`
	CertificateID string `json:"certificateId,omitempty"`

	MaxBucketSize    int `json:"maxBucketSize,omitempty"`
	WindowSize       int `json:"windowSize,omitempty"`
	ConnectTimeoutMs int `json:"connectTimeoutMs,omitempty"`
	ReadTimeoutMs    int `json:"readTimeoutMs,omitempty"`
	RateLimit        int `json:"rateLimit,omitempty"` // requests per second; 0: none

	EnabledSSLProtocols []string          `json:"enabledSslProtocols,omitempty"` // TLSv1.2, TLSv1.3
	Headers             map[string]string `json:"headers,omitempty"`
	ResponseRegex       string            `json:"responseRegex,omitempty"`
	ResponseBodyRegex   string            `json:"responseBodyRegex,omitempty"`

	Retry    *Retry   `json:"retry,omitempty"`
	Ordering Ordering `json:"ordering,omitempty"`
	Disabled bool     `json:"disabled,omitempty"`
	// DisabledReason says why belfry itself disabled the profile (a 410).
	DisabledReason string `json:"disabledReason,omitempty"`
	Meta
}

// Effective returns a copy of p with the documented defaults filled in.
func (p Profile) Effective() Profile {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&p.MaxBucketSize, DefaultMaxBucketSize)
	def(&p.WindowSize, DefaultWindowSize)
	def(&p.ConnectTimeoutMs, DefaultConnectTimeoutMs)
	def(&p.ReadTimeoutMs, DefaultReadTimeoutMs)
	if p.ContentType == "" {
		p.ContentType = DefaultContentType
	}
	if p.Ordering == "" {
		p.Ordering = OrderingNone
	}
	return p
}

// EventRef is one entry of a subscription's event list. Format is set when
// the entry was given as an {event, format} object; it is echoed that way.
type EventRef struct {
	Event  string `json:"event"`
	Format string `json:"format,omitempty"`
}

// Criterion is one tuple of a subscription's criteria. Its members are ANDed;
// an empty member matches anything. Tuples are ORed.
type Criterion struct {
	ApplicationID        string `json:"applicationId,omitempty"`
	EntityID             string `json:"entityId,omitempty"`
	CallsConfigurationID string `json:"callsConfigurationId,omitempty"`
}

// Subscription says which events of a channel an account wants, and through
// which profile. Its identity is (Account, Channel, ID).
type Subscription struct {
	Account string `json:"account"`
	Channel string `json:"channel"`
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`

	Events    []EventRef  `json:"events,omitempty"` // empty: all events of the channel
	Criteria  []Criterion `json:"criteria,omitempty"`
	Resources []string    `json:"resources,omitempty"`
	Users     []string    `json:"users,omitempty"`

	ProfileID string `json:"profileId"`
	Meta
}

// Partitions is how many partitions the deliveries of a cluster fall into.
// It is part of the data format and never changes.
const Partitions = 64

// Assignment is the owner of one partition. Epoch rises with every change of
// the owner and fences the owner before.
type Assignment struct {
	Owner string `json:"owner,omitempty"` // node id; empty: nobody yet
	Epoch uint64 `json:"epoch"`
}

// PartitionTable assigns every partition. Version rises with every change.
type PartitionTable struct {
	Version uint64                 `json:"version"`
	Slots   [Partitions]Assignment `json:"slots"`
}

// AuditRecord says who did what. It is written by the same command as the
// change, so it cannot be missing.
type AuditRecord struct {
	Index     uint64    `json:"index"`
	At        time.Time `json:"at"`
	Account   string    `json:"account"` // whose object was touched
	Actor     string    `json:"actor"`   // "key:<id>", "user:<name>" or "system"
	ActorFrom string    `json:"actorFrom,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
	Action    string    `json:"action"` // "profile.update", …
	Object    string    `json:"object"` // id of what was touched
	// Changes are the members that the command changed; ChangesCut: and more.
	Changes    []AuditChange `json:"changes,omitempty"`
	ChangesCut bool          `json:"changesCut,omitempty"`
}

// AuditMask stands for a secret in an AuditChange: that it is there, or that it
// was changed.
const AuditMask = "••••••"

// AuditChange is one member of one object that a command changed. Long values
// are cut. An empty value: the member was not there.
type AuditChange struct {
	Object string `json:"object"` // its kind and id, such as "profile orders"
	Member string `json:"member"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Actor is who asks for a change; it is stamped into every command.
type Actor struct {
	Name      string `json:"name"` // "key:<id>", "user:<name>" or "system"
	From      string `json:"from,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}
