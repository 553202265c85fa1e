package model

import "iter"

// View is a consistent sight of the config state at one index. It is valid
// only during the call it was passed to: keep no View and no slice from it.
type View interface {
	Index() uint64
	Account(id string) (Account, bool)
	Accounts() iter.Seq[Account]
	Subscription(account, channel, id string) (Subscription, bool)
	// Subscriptions runs over one account, or over all when account is "".
	Subscriptions(account string) iter.Seq[Subscription]
	Profile(account, id string) (Profile, bool)
	Profiles(account string) iter.Seq[Profile]
	Security(account, id string) (Security, bool)
	Certificate(account, id string) (Certificate, bool)
	Partitions() PartitionTable
}

// Entity names a kind of stored object.
type Entity string

// The kinds of stored objects.
const (
	EntityAccount      Entity = "account"
	EntityKey          Entity = "key"
	EntityUser         Entity = "user"
	EntityToken        Entity = "token"
	EntitySecurity     Entity = "security"
	EntityCertificate  Entity = "certificate"
	EntityProfile      Entity = "profile"
	EntitySubscription Entity = "subscription"
	EntityPartitions   Entity = "partitions"
	EntityFeature      Entity = "feature"
)

// Change is one object that a command created, changed or deleted.
type Change struct {
	Entity  Entity
	Account string
	Channel string // subscriptions only
	ID      string
	Deleted bool
}

// ChangeSet is what one committed batch changed, in log order.
type ChangeSet struct {
	Index   uint64
	Changes []Change
}

// Page is one page of a list. Page numbers start at 0.
type Page[T any] struct {
	Items []T
	Page  int
	Size  int
	Total int
}

// Limits of lists on the wire.
const (
	DefaultPageSize = 20
	MaxPageSize     = 100
)
