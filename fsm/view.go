package fsm

import (
	"iter"

	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// view is the model.View over one transaction.
type view struct {
	tx    *bbolt.Tx
	index uint64
}

var _ model.View = view{}

func below(account string) []byte {
	if account == "" {
		return nil
	}
	return prefix(account)
}

func (v view) Index() uint64                           { return v.index }
func (v view) Account(id string) (model.Account, bool) { return accounts.get(v.tx, key(id)) }
func (v view) Accounts() iter.Seq[model.Account]       { return accounts.all(v.tx, nil) }

func (v view) Subscription(account, channel, id string) (model.Subscription, bool) {
	return subscriptions.get(v.tx, key(account, channel, id))
}

func (v view) Subscriptions(account string) iter.Seq[model.Subscription] {
	return subscriptions.all(v.tx, below(account))
}

func (v view) Profile(account, id string) (model.Profile, bool) {
	return profiles.get(v.tx, key(account, id))
}

func (v view) Profiles(account string) iter.Seq[model.Profile] {
	return profiles.all(v.tx, below(account))
}

func (v view) Security(account, id string) (model.Security, bool) {
	return securities.get(v.tx, key(account, id))
}

func (v view) Certificate(account, id string) (model.Certificate, bool) {
	return certificates.get(v.tx, key(account, id))
}

func (v view) Partitions() model.PartitionTable { return readPartitions(v.tx) }

// View calls fn with a consistent sight of the state. The View, and whatever
// iterates over it, is valid only until fn returns.
func (s *Store) View(fn func(model.View) error) error {
	return s.view(func(tx *bbolt.Tx) error {
		return fn(view{tx: tx, index: readUint(tx.Bucket(bMeta).Get(kApplied))})
	})
}
