package model

import "slices"

// Scope is a permission of a key or user. Every route declares one.
type Scope string

// The scopes. ScopeSubscriptionsManage is the contract's; it includes reading.
const (
	ScopeSubscriptionsManage Scope = "subscriptions:manage"
	ScopeSubscriptionsRead   Scope = "subscriptions:read"
	ScopeSecurityReveal      Scope = "security:reveal"
	ScopeEventsWrite         Scope = "events:write"
	ScopeEventsRead          Scope = "events:read"
	ScopeAccountsManage      Scope = "accounts:manage" // keys and users of the own account
	ScopeAuditRead           Scope = "audit:read"      // audit log of the own account
	ScopeAdminAccounts       Scope = "admin:accounts"  // every account
	ScopeAdminCluster        Scope = "admin:cluster"
)

// AllScopes returns every scope, in documentation order.
func AllScopes() []Scope {
	return []Scope{
		ScopeSubscriptionsManage, ScopeSubscriptionsRead, ScopeSecurityReveal,
		ScopeEventsWrite, ScopeEventsRead, ScopeAccountsManage, ScopeAuditRead,
		ScopeAdminAccounts, ScopeAdminCluster,
	}
}

// Known reports whether s is one of AllScopes.
func (s Scope) Known() bool { return slices.Contains(AllScopes(), s) }

// Allows reports whether a caller that holds have may do what needs s.
// subscriptions:manage includes subscriptions:read, admin:accounts includes
// accounts:manage and audit:read.
func (s Scope) Allows(have []Scope) bool {
	if slices.Contains(have, s) {
		return true
	}
	switch s { //nolint:exhaustive // the others are included in none
	case ScopeSubscriptionsRead:
		return slices.Contains(have, ScopeSubscriptionsManage)
	case ScopeAccountsManage, ScopeAuditRead:
		return slices.Contains(have, ScopeAdminAccounts)
	default:
		return false
	}
}
