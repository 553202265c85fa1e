package fsm

import (
	"strings"

	"example.com/belfry/fsm/model"
)

// The kinds of actors in model.Actor.Name; what has none is the system itself.
const (
	actorKey  = "key:"
	actorUser = "user:"
)

// permit refuses a change whose actor is not there any more, is disabled, or
// belongs to an account that is. The node that was asked checked the actor
// against its own copy, which may be behind.
//
// INV fsm-10: no change is made in the name of a key or user whose end or
// disabling was applied before.
func (t *txn) permit(by model.Actor) error {
	kind, id, ok := strings.Cut(by.Name, ":")
	if !ok {
		return nil
	}
	var account string
	var usable bool
	switch kind + ":" {
	case actorKey:
		k, found := keys.get(t.tx, key(id))
		account, usable = k.Account, found && !k.Disabled
	case actorUser:
		u, found := users.get(t.tx, key(id))
		account, usable = u.Account, found && !u.Disabled
	default:
		return nil
	}
	if usable {
		a, found := accounts.get(t.tx, key(account))
		usable = found && !a.Disabled
	}
	if !usable {
		return model.Errorf(model.CodeUnauthorized, "the credentials were disabled or deleted before the change could be made")
	}
	return nil
}
