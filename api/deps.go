package api

import (
	"context"
	"net/netip"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// ConfigReader reads the local config state. It never asks other nodes: the
// router calls Cluster.Linearize first where a current answer is owed. A
// missing object is a *model.Error with CodeNotFound.
type ConfigReader interface {
	Subscription(account, channel, id string) (model.Subscription, error)
	ListSubscriptions(account, channel string, f model.SubscriptionFilter, page, size int) (model.Page[model.Subscription], error)
	Profile(account, id string) (model.Profile, error)
	ListProfiles(account string, f model.ProfileFilter, page, size int) (model.Page[model.Profile], error)
	Security(account, id string) (model.Security, error)
	ListSecurity(account string, f model.SecurityFilter, page, size int) (model.Page[model.Security], error)
	Certificate(account, id string) (model.Certificate, error)
	ListCertificates(account string, f model.CertificateFilter, page, size int) (model.Page[model.Certificate], error)

	Account(id string) (model.Account, error)
	ListAccounts(page, size int) (model.Page[model.Account], error)
	Key(id string) (model.Key, error)
	ListKeys(account string, page, size int) (model.Page[model.Key], error)
	User(username string) (model.User, error)
	ListUsers(account string, page, size int) (model.Page[model.User], error)
	TokenRevoked(id string) bool
	// ListAudit runs from the newest record to the oldest.
	ListAudit(account string, page, size int) (model.Page[model.AuditRecord], error)
}

// ConfigWriter proposes changes. Every method returns after the change is
// committed and applied on this node; rules of the hierarchy are checked in
// Apply and come back as *model.Error. Errors: CodeInvalid, CodeExists,
// CodeInUse, CodeNotFound, CodeQuota, CodeUnavailable, CodeUnknownOutcome.
type ConfigWriter interface {
	CreateSubscription(ctx context.Context, by model.Actor, d model.SubscriptionDraft) (model.Refs, error)
	ReplaceSubscription(ctx context.Context, by model.Actor, s model.Subscription) (model.Refs, error)
	DeleteSubscription(ctx context.Context, by model.Actor, account, channel, id string) (model.Refs, error)
	CreateProfile(ctx context.Context, by model.Actor, d model.ProfileDraft) (model.Refs, error)
	UpdateProfile(ctx context.Context, by model.Actor, account, id string, p model.ProfilePatch) (model.Refs, error)
	DeleteProfile(ctx context.Context, by model.Actor, account, id string) (model.Refs, error)
	CreateSecurity(ctx context.Context, by model.Actor, d model.SecurityDraft) (model.Refs, error)
	UpdateSecurity(ctx context.Context, by model.Actor, account, id string, p model.SecurityPatch) (model.Refs, error)
	DeleteSecurity(ctx context.Context, by model.Actor, account, id string) (model.Refs, error)
	// CreateCertificate seals key (PKCS#8 DER) before proposing.
	CreateCertificate(ctx context.Context, by model.Actor, c model.Certificate, key model.Secret) (model.Certificate, error)
	DeleteCertificate(ctx context.Context, by model.Actor, account, id string) error

	CreateAccount(ctx context.Context, by model.Actor, a model.Account) (model.Account, error)
	UpdateAccount(ctx context.Context, by model.Actor, id string, p model.AccountPatch) (model.Account, error)
	DeleteAccount(ctx context.Context, by model.Actor, id string) error
	CreateKey(ctx context.Context, by model.Actor, k model.Key) (model.Key, error)
	UpdateKey(ctx context.Context, by model.Actor, account, id string, p model.KeyPatch) (model.Key, error)
	DeleteKey(ctx context.Context, by model.Actor, account, id string) error
	CreateUser(ctx context.Context, by model.Actor, u model.User) (model.User, error)
	UpdateUser(ctx context.Context, by model.Actor, account, username string, p model.UserPatch) (model.User, error)
	DeleteUser(ctx context.Context, by model.Actor, account, username string) error
	RevokeToken(ctx context.Context, by model.Actor, account string, t model.RevokedToken) error
	// AuditReveal records that by saw the clear text of a security setting.
	AuditReveal(ctx context.Context, by model.Actor, account, authID string) error
}

// Opener opens sealed secrets of a security setting, for ?reveal=true.
type Opener interface {
	Open(account string, kind model.Entity, id string, field model.SecretField, s model.Sealed) (model.Secret, error)
}

// Cluster is what the API asks of the node's membership.
type Cluster interface {
	// Linearize returns once local reads are current. CodeUnavailable when
	// there is no leader or no quorum in time.
	Linearize(ctx context.Context) error
	// StateAge bounds how old local reads of the config are: they show
	// everything that was acknowledged anywhere longer ago than age. Not known:
	// there is no bound, because this node has not caught up with a leader
	// since its start.
	StateAge() (age time.Duration, known bool)
	// AppliedEverywhere reports whether every voter has applied index.
	AppliedEverywhere(index uint64) bool
	Nodes() []NodeStatus
	Partitions() []PartitionStatus
	TransferLeadership(ctx context.Context) error
	RemoveNode(ctx context.Context, nodeID string) error
	// SetDraining has a node give its partitions away and be given none, or ends
	// that. It returns when the node has noted it; CodeConflict when the node
	// does not answer or none would be left that delivers.
	SetDraining(ctx context.Context, nodeID string, on bool) error
	// NodeID is this node's id, for the Belfry-Node response header.
	NodeID() string
}

// NodeStatus is one row of GET /cluster/1/nodes.
type NodeStatus struct {
	NodeID       string `json:"nodeId"`
	APIAddress   string `json:"apiAddress"`
	PeerAddress  string `json:"peerAddress"`
	Role         string `json:"role"` // LEADER or FOLLOWER
	Voter        bool   `json:"voter"`
	Live         bool   `json:"live"`
	Draining     bool   `json:"draining"`
	AppliedIndex uint64 `json:"appliedIndex"`
}

// PartitionStatus is one row of GET /cluster/1/partitions.
type PartitionStatus struct {
	Partition int    `json:"partition"`
	Owner     string `json:"owner"`
	Epoch     uint64 `json:"epoch"`
}

// Events is the event plane as the API sees it.
type Events interface {
	// Publish takes all events or none. Receipts are in the order of es; they
	// come back only after the deliveries are on the disks of a quorum.
	// Errors: CodeConflict (same id, other content; Field "/<i>/eventId"),
	// CodeUnavailable, CodeUnknownOutcome, CodeLimit.
	Publish(ctx context.Context, es []*event.Event) ([]event.Receipt, error)
	// Event gathers one event with its deliveries and attempts from all
	// nodes. CodeNotFound when no node knows it.
	Event(ctx context.Context, account, eventID string) (event.Record, error)
}

// Archive looks at events and dead letters, and sends dead letters again. It
// sees one account at a time.
type Archive interface {
	// Search returns the part of the list of events that follows after; the
	// zero Ref is its beginning. limit is from 1 to MaxSearch.
	Search(ctx context.Context, account string, f event.Filter, after event.Ref, limit int) (event.Page, error)
	// DeadLetters returns those that fit f and died before the instant; the zero
	// time is now.
	DeadLetters(ctx context.Context, account string, f event.DeadFilter, before time.Time, limit int) (event.DeadPage, error)
	// DeadLetter returns one. CodeNotFound: there is none of that delivery.
	DeadLetter(ctx context.Context, account, deliveryID string) (event.DeadLetter, error)
	// Replay sends one again, with the webhook-id it had, in a new series of
	// attempts. It returns after the change is on the disks of a quorum.
	// CodeNotFound as above.
	Replay(ctx context.Context, account, deliveryID string) error
	// StartReplay makes a job of job's Account, ID, Filter, Rate and CreatedBy.
	// CodeQuota: MaxRunningReplays of the account run already.
	StartReplay(ctx context.Context, job event.ReplayJob) (event.ReplayJob, error)
	// Replays are the jobs of the account, newest first.
	Replays(ctx context.Context, account string) ([]event.ReplayJob, error)
	// ReplayJob returns one job; CodeNotFound.
	ReplayJob(ctx context.Context, account, id string) (event.ReplayJob, error)
	// CancelReplay ends a job that runs; what it has sent again stays so. A job
	// that is over is returned as it is. CodeNotFound.
	CancelReplay(ctx context.Context, account, id string) (event.ReplayJob, error)
}

// Watcher shows what happens and what would happen.
type Watcher interface {
	// Tail calls send with what happened since the call before, at least every
	// TailHeartbeat (then with no entries), until ctx ends or send fails. It
	// returns send's error, or nil.
	Tail(ctx context.Context, account string, f event.TailFilter, send func(event.TailBatch) error) error
	// Match says what e would be owed. Nothing is published.
	Match(ctx context.Context, e *event.Event) (event.MatchReport, error)
	// TestProfile makes one attempt to deliver a sample of the channel's event to
	// the profile, now, and reports it whatever came of it. CodeNotFound: there is
	// no such profile; CodeInvalid: the profile's contentType has no form of it.
	TestProfile(ctx context.Context, account, profileID, channel, name string) (event.TestReport, error)
	// Stats are the figures of the window that ends now; window is from one
	// minute to one hour.
	Stats(ctx context.Context, account string, window time.Duration) (event.Stats, error)
	// Series is the same minute by minute, of one profile or of all for "". A
	// profile that is not known has no figures.
	Series(ctx context.Context, account, profileID string, window time.Duration) (event.Series, error)
}

// ConnectionTester makes the TLS handshake of POST …/certificates/test/webhook
// through the guarded dialer. It does not send an event.
type ConnectionTester interface {
	TestConnection(ctx context.Context, account, certificateID, url string) (ConnectionTest, error)
}

// ConnectionTest is the outcome of a connection test.
type ConnectionTest struct {
	Success     bool
	FailReasons []string
	Hint        string
}

// Check is one named readiness check.
type Check struct {
	Name string
	// Run returns nil when the check passes. Its error text is shown.
	Run func(ctx context.Context) error
}

// URLPolicy says whether a webhook or token URL may be saved. The dialer
// checks again, after DNS, whenever it is used.
type URLPolicy interface {
	CheckURL(raw string) error // *model.Error without Field, or nil
}

// Remote is the address a request came from, for CIDR checks of keys.
type Remote = netip.Addr
